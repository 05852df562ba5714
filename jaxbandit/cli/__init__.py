"""The command line: from argv to a call of `experiments`, `policies` or `vertex`, and exit statuses.

It decides nothing that a number depends on.
"""
