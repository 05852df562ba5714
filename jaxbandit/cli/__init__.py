"""The command line: from arguments to a call of `experiments`, `policies` or `vertex`, and to an exit status.

It decides nothing on which a number depends.
"""
