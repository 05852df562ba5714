"""Vertex AI: the trainer's contract with it, and the launcher. Only where it is asked is the cloud SDK imported."""
