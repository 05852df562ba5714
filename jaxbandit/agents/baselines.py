"""Bounds that learn nothing: the uniform policy below, the oracle above."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxbandit import exploration
from jaxbandit.types import Agent, Context, Decision, Spec


def uniform(spec: Spec) -> Agent:
    """Take an allowed arm uniformly at random."""

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        return Decision(exploration.uniform(key, context, spec.num_actions))

    return Agent(
        init=lambda key: (),
        select=select,
        update=lambda key, state, interaction: state,
        probabilities=lambda state, context: exploration.uniform_probabilities(context, spec.num_actions),
    )


def oracle(spec: Spec) -> Agent:
    """Take the arm of the highest mean reward. It sees the mean rewards: a bound, not a policy."""

    def scores(context: Context) -> Float[Array, "B K"]:
        assert context.truth is not None, "the simulation shows mean rewards to a privileged agent"
        return exploration.allowed(context, context.truth)

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        return Decision(jnp.argmax(scores(context), axis=-1).astype(jnp.int32))

    return Agent(
        init=lambda key: (),
        select=select,
        update=lambda key, state, interaction: state,
        privileged=True,
        probabilities=lambda state, context: exploration.greedy_probabilities(scores(context), "first"),
    )
