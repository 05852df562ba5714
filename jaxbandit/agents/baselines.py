"""Bounds that learn nothing: the uniform policy below, the oracle above."""

import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxbandit import exploration
from jaxbandit.types import Agent, Context, Decision, Spec


def uniform(spec: Spec) -> Agent:
    """Take an allowed arm uniformly at random."""

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        return Decision(exploration.uniform(key, context, spec.num_actions))

    return Agent(init=lambda key: (), select=select, update=lambda key, state, interaction: state)


def oracle(spec: Spec) -> Agent:
    """Take the arm of the highest mean reward. It sees the mean rewards: a bound, not a policy."""

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        assert context.truth is not None, "the simulation shows mean rewards to a privileged agent"
        scores = exploration.allowed(context, context.truth)
        return Decision(jnp.argmax(scores, axis=-1).astype(jnp.int32))

    return Agent(init=lambda key: (), select=select, update=lambda key, state, interaction: state, privileged=True)
