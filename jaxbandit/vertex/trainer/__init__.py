"""What a container on Vertex AI does around a run: where results go, what it reports of a trial.

The launcher, which sends the container there, lives in the package above.
"""
