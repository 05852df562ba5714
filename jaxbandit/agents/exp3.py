"""EXP3: exponential weights for arms whose rewards may come from an adversary. It looks at no features."""

from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Gt, doc
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbandit.agents import bounded, exploration, settings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced


def exp3(
    spec: Spec,
    *,
    eta: Annotated[Traced, Gt(0), doc("learning rate; about sqrt(ln K / (K n)) for n interactions")] = 0.01,
    reward_low: bounded.RewardLow = None,
    reward_high: bounded.RewardHigh = None,
) -> Agent[Float[Array, " K"]]:
    """Draw an arm by softmax(eta w); then w_a += 1 - 1{a = A} (1 - r) / p_A for every arm a.

    Rewards are scaled to [0, 1]. Only differences of w matter; the highest is kept at 0.
    Source: Lattimore & Szepesvári 2020, chapter 11.
    """
    settings.require_fixed_arms(spec, "exp3")
    bounds = bounded.reward_bounds(spec, reward_low, reward_high)

    def probabilities(state: Float[Array, " K"], context: Context) -> Float[Array, "B K"]:
        scores = jnp.tile(eta * state[None], (context.user.shape[0], 1))
        return jax.nn.softmax(exploration.allowed(context, scores), axis=-1)

    def select(key: Key[Array, ""], state: Float[Array, " K"], context: Context) -> Decision:
        probability = probabilities(state, context)
        action = exploration.draw(key, probability)
        return Decision(action, jnp.take_along_axis(probability, action[:, None], axis=1, mode="clip")[:, 0])

    def update(key: Key[Array, ""], state: Float[Array, " K"], seen: Interaction) -> Float[Array, " K"]:
        reward = bounded.to_unit(seen.reward, bounds)
        gain = gains(spec.num_actions, seen.action, reward, seen.memory, seen.context.mask)
        total = state + jnp.sum(gain * seen.weight[:, None], axis=0)
        return total - jnp.max(total)

    return Agent(lambda key: jnp.zeros(spec.num_actions), select, update, probabilities=probabilities)


def gains(
    num_actions: int,
    action: Int[Array, " B"],
    reward: Float[Array, " B"],
    propensity: Float[Array, " B"],
    mask: Bool[Array, "B K"] | None = None,
) -> Float[Array, "B K"]:
    """Estimate the reward of every arm without bias: 1 - 1{a = A} (1 - r) / p_A.

    An arm that the mask forbids is credited with r, what was earned without it: it neither gains nor loses on average
    against the policy (a specialist that sleeps; Freund et al. 1997).
    """
    gain = 1 - jax.nn.one_hot(action, num_actions) * ((1 - reward) / propensity)[:, None]
    return gain if mask is None else jnp.where(mask, gain, reward[:, None])
