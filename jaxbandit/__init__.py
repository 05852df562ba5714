"""Contextual-bandit simulation in one compiled JAX program. Import what you use from the modules."""
