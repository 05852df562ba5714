"""Thompson sampling of arms that pay 0 or 1. It looks at no features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxbandit._core import prng
from jaxbandit.agents import bounded, exploration, settings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec


class Beta(NamedTuple):
    """What is known of the mean reward of each arm."""

    alpha: Float[Array, " K"]
    beta: Float[Array, " K"]


def bernoulli_ts(
    spec: Spec, *, reward_low: bounded.RewardLow = None, reward_high: bounded.RewardHigh = None
) -> Agent[Beta]:
    """Take argmax_a p_a, p_a ~ Beta(alpha_a, beta_a), a draw per user.

    Rewards are scaled to [0, 1]; alpha_a = 1 + sum of r, beta_a = 1 + sum of 1 - r.
    Source: Thompson 1933; Chapelle & Li 2011, Algorithm 2.
    """
    settings.require_fixed_arms(spec, "bernoulli-ts")
    bounds = bounded.reward_bounds(spec, reward_low, reward_high)

    def select(key: Key[Array, ""], state: Beta, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        shape = (context.user.shape[0], spec.num_actions)
        draw = jax.random.beta(draw_key, state.alpha[None], state.beta[None], shape)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, draw)))

    def update(key: Key[Array, ""], state: Beta, seen: Interaction) -> Beta:
        reward = bounded.to_unit(seen.reward, bounds)
        pulled = jax.nn.one_hot(seen.action, spec.num_actions) * seen.weight[:, None]
        return Beta(
            state.alpha + jnp.sum(pulled * reward[:, None], axis=0),
            state.beta + jnp.sum(pulled * (1 - reward)[:, None], axis=0),
        )

    return Agent(lambda key: Beta(jnp.ones(spec.num_actions), jnp.ones(spec.num_actions)), select, update)
