"""From a laptop to Vertex AI: requests, jobs, trials and their results, and the same trials on this machine.

What the container does with the request is in `trainer`; which flags a training may have is checked in `cli.prepare`.
"""
