"""Policies to compare with that learn nothing from rewards: uniform below, the best fixed arm and the oracle above."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxbandit import exploration
from jaxbandit.agents import settings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec


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


def best_fixed_arm(spec: Spec) -> Agent:
    """Take the arm whose mean rewards add up to most so far, this batch included. It sees them: a bound, not a policy.

    Without masks it earns no less than the arm that is best in hindsight.
    """
    settings.require_fixed_arms(spec, "best-fixed-arm")

    def select(key: Key[Array, ""], state: Float[Array, " K"], context: Context) -> Decision:
        assert context.truth is not None, "the simulation shows mean rewards to a privileged agent"
        total = state[None] + jnp.sum(context.truth, axis=0, keepdims=True)
        scores = exploration.allowed(context, jnp.broadcast_to(total, context.truth.shape))
        return Decision(jnp.argmax(scores, axis=-1).astype(jnp.int32))

    def update(key: Key[Array, ""], state: Float[Array, " K"], seen: Interaction) -> Float[Array, " K"]:
        assert seen.context.truth is not None, "the simulation shows mean rewards to a privileged agent"
        total = state + jnp.sum(seen.context.truth * seen.weight[:, None], axis=0)
        return total - jnp.max(total)  # differences alone matter, and stay exact for longer

    return Agent(lambda key: jnp.zeros(spec.num_actions), select, update, privileged=True)
