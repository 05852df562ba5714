"""Thompson sampling of arms that pay 0 or 1. It looks at no features."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxbandit._core import prng
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import groups
from jaxbandit.agents.models.normal_inverse_gamma import gamma
from jaxbandit.agents.settings import RewardRange
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec


class Beta(NamedTuple):
    """What is known of the mean reward of each arm."""

    alpha: Float[Array, " K"]
    beta: Float[Array, " K"]


@flat_settings
def bernoulli_ts(spec: Spec, *, rewards: RewardRange = RewardRange()) -> Agent[Beta]:
    """Take argmax_a f~_a, f~_a ~ Beta(alpha_a, beta_a), a draw per user.

    Rewards are scaled to [0, 1]; alpha_a = 1 + sum of w r and beta_a = 1 + sum of w (1 - r) over what arm a paid.
    Sources: Thompson 1933, "On the likelihood that one unknown probability exceeds another in view of the evidence of
    two samples", https://doi.org/10.1093/biomet/25.3-4.285; Chapelle & Li 2011, "An empirical evaluation of Thompson
    sampling", Algorithm 2, https://papers.nips.cc/paper/4321-an-empirical-evaluation-of-thompson-sampling.
    """
    settings.require_fixed_arms(spec, "bernoulli-ts")
    bounds = settings.reward_bounds(spec, rewards)

    def select(key: Key[Array, ""], state: Beta, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        shape = (context.user.shape[0], spec.num_actions)
        # X / (X + Y) of Gamma variates; jax.random.beta draws them in a loop, one after the other on a CPU.
        x, y = gamma(draw_key, jnp.broadcast_to(jnp.stack(state)[:, None], (2, *shape)))
        draw = x / (x + y)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, draw)))

    def update(key: Key[Array, ""], state: Beta, seen: Interaction) -> Beta:
        reward = settings.to_unit(seen.reward, bounds)
        return Beta(
            groups.add_rows(state.alpha, seen.action, seen.weight * reward),
            groups.add_rows(state.beta, seen.action, seen.weight * (1 - reward)),
        )

    return Agent(lambda key: Beta(jnp.ones(spec.num_actions), jnp.ones(spec.num_actions)), select, update)
