"""What agents learn with: linear posteriors, joint features, networks, their training and a replay buffer.

How an agent acts on it lives in the agent's own module. Equations are in the notation of `jaxbandit.agents`.
"""
