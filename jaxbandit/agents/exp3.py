"""EXP3: exponential weights for arms whose rewards may come from an adversary. It looks at no features."""

from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Gt, doc
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.selection import entries
from jaxbandit.agents import exploration, settings, whole_numbers
from jaxbandit.agents.settings import RewardRange
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced


@flat_settings
def exp3(
    spec: Spec,
    *,
    eta: Annotated[Traced, Gt(0), doc("learning rate; about sqrt(ln K / (K n)) for n interactions")] = 0.01,
    rewards: RewardRange = RewardRange(),
) -> Agent[Float[Array, " K"]]:
    """Draw arm a with p_a = softmax_a(eta G); then G_a <- G_a + 1 - 1{a was taken} (1 - r) / p_a for every arm.

    Rewards are scaled to [0, 1]. Only differences of G, the estimated gains, matter; the highest is kept at 0. So
    that no order of sums matters, p_a is rounded to multiples of 2^-30 K, and what a user adds to G to 2^-8 (and held
    within 2^20).
    Source: Lattimore & Szepesvári 2020, "Bandit algorithms", chapter 11, https://doi.org/10.1017/9781108571401.
    """
    settings.require_fixed_arms(spec, "exp3")
    bounds = settings.reward_bounds(spec, rewards)

    def probabilities(state: Float[Array, " K"], context: Context) -> Float[Array, "B K"]:
        users = (context.user.shape[0], spec.num_actions)
        if context.mask is None:  # all users have the same
            return jnp.broadcast_to(whole_numbers.softmax(state, eta)[None], users)
        return whole_numbers.softmax(exploration.allowed(context, jnp.broadcast_to(state[None], users)), eta)

    def select(key: Key[Array, ""], state: Float[Array, " K"], context: Context) -> Decision:
        probability = probabilities(state, context)
        action = whole_numbers.draw(key, probability)
        return Decision(action, entries(probability, action))

    def update(key: Key[Array, ""], state: Float[Array, " K"], seen: Interaction) -> Float[Array, " K"]:
        reward = settings.to_unit(seen.reward, bounds)
        gain = gains(spec.num_actions, seen.action, reward, seen.memory, seen.context.mask)
        total = state + whole_numbers.total(gain * seen.weight[:, None])
        return total - jnp.max(total)

    return Agent(lambda key: jnp.zeros(spec.num_actions), select, update, probabilities=probabilities)


def gains(
    num_actions: int,
    action: Int[Array, " B"],
    reward: Float[Array, " B"],
    propensity: Float[Array, " B"],
    mask: Bool[Array, "B K"] | None = None,
) -> Float[Array, "B K"]:
    """Estimate the reward of every arm without bias: 1 - 1{a was taken} (1 - r) / p_a.

    An arm that the mask forbids is credited with r, what was earned without it: it neither gains nor loses on average
    against the policy.
    Source of that: Freund, Schapire, Singer & Warmuth 1997, "Using and combining predictors that specialize",
    https://doi.org/10.1145/258533.258616.
    """
    gain = 1 - jax.nn.one_hot(action, num_actions) * ((1 - reward) / propensity)[:, None]
    return gain if mask is None else jnp.where(mask, gain, reward[:, None])
