"""What agents learn with: posteriors, features, networks, training, replay.

How an agent acts on it lives in the agent's own module.
"""
