"""Bounds that learn nothing: the uniform policy below, the oracle above."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxbandit import exploration
from jaxbandit.types import Agent, Context, Decision, Spec


def uniform(spec: Spec) -> Agent:
    """Take an allowed arm, or a slate of them, uniformly at random."""
    slates = spec.slate_size > 1

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        if slates:
            priority = jax.random.uniform(key, (context.user.shape[0], spec.num_actions))
            return Decision(_top(exploration.allowed(context, priority), spec.slate_size))
        return Decision(exploration.uniform(key, context, spec.num_actions))

    return Agent(init=lambda key: (), select=select, update=lambda key, state, interaction: state, slates=slates)


def oracle(spec: Spec) -> Agent:
    """Take the arm, or the slate, of the highest mean reward. It sees the mean rewards: a bound, not a policy."""
    slates = spec.slate_size > 1

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        assert context.truth is not None, "the simulation shows mean rewards to a privileged agent"
        scores = exploration.allowed(context, context.truth)
        if slates:
            return Decision(_top(scores, spec.slate_size))
        return Decision(jnp.argmax(scores, axis=-1).astype(jnp.int32))

    return Agent(lambda key: (), select, lambda key, state, interaction: state, privileged=True, slates=slates)


def _top(scores: Float[Array, "B K"], size: int) -> Int[Array, "B M"]:
    return jax.lax.top_k(scores, size)[1]
