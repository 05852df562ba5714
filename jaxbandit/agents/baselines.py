"""Policies to compare with that learn nothing from rewards: uniform below, the best fixed arm and the oracle above."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxbandit.agents import exploration, settings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec


def uniform(spec: Spec) -> Agent[tuple[()]]:
    """Take an allowed arm, or a slate of them, uniformly at random."""
    slates = spec.slate_size > 1

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        if slates:
            priority = jax.random.uniform(key, (context.user.shape[0], spec.num_actions))
            return Decision(_top(exploration.allowed(context, priority), spec.slate_size))
        return Decision(exploration.uniform(key, context, spec.num_actions))

    return Agent(
        init=lambda key: (),
        select=select,
        update=lambda key, state, interaction: state,
        probabilities=None
        if slates
        else lambda state, context: exploration.uniform_probabilities(context, spec.num_actions),
        slates=slates,
    )


def oracle(spec: Spec) -> Agent[tuple[()]]:
    """Take the arm, or the slate, of the highest mean reward. It sees the mean rewards: a bound, not a policy."""
    slates = spec.slate_size > 1

    def scores(context: Context) -> Float[Array, "B K"]:
        assert context.truth is not None, "the simulation shows mean rewards to a privileged agent"
        return exploration.allowed(context, context.truth)

    def select(key: Key[Array, ""], state: tuple[()], context: Context) -> Decision:
        if slates:
            return Decision(_top(scores(context), spec.slate_size))
        return Decision(jnp.argmax(scores(context), axis=-1).astype(jnp.int32))

    return Agent(
        init=lambda key: (),
        select=select,
        update=lambda key, state, interaction: state,
        privileged=True,
        probabilities=None
        if slates
        else lambda state, context: exploration.greedy_probabilities(scores(context), "first"),
        slates=slates,
    )


def _top(scores: Float[Array, "B K"], size: int) -> Int[Array, "B M"]:
    return jax.lax.top_k(scores, size)[1]


def best_fixed_arm(spec: Spec) -> Agent[Float[Array, " K"]]:
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
