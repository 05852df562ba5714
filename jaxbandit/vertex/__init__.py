"""From a laptop to Vertex AI: `prepare` a launch and `launch` it; and the trainer's side of the contract.

Only `service`, and the trainer's experiment log, import the cloud SDK.
"""
