"""Settings that several agents share: their kinds, bounds, words and defaults, once. No agent is made here."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import jax.numpy as jnp
from annotated_types import Ge, Gt, Interval, Le, doc
from jaxtyping import Array, Float, Int

from jaxbandit._core.errors import InputError
from jaxbandit.agents import exploration
from jaxbandit.agents.models import features
from jaxbandit.types import Spec, Traced

Scheduled: TypeAlias = Traced | Callable[[Int[Array, ""]], Traced]  # a float, or an optax schedule of the update count

Alpha = Annotated[Traced, Ge(0), doc("width of exploration, in posterior standard deviations")]
Gamma = Annotated[Traced, Gt(0), Le(1), doc("forgetting factor of each update; 1 forgets nothing")]
TikhonovWeight = Annotated[Traced, Gt(0), doc("ridge, added when solving and so never forgotten")]
AddBias = Annotated[bool, doc("append a constant 1 to the user part")]
Features = Annotated[features.Features, doc("joint features of a shared model (per-arm environments)")]
Ties = Annotated[exploration.Ties, doc("how equal scores are broken")]
Epsilon = Annotated[Scheduled, Interval(ge=0, le=1), doc("probability of a uniform allowed arm")]
Temperature = Annotated[Scheduled, Gt(0), doc("temperature of the softmax over predicted rewards")]
LearningRate = Annotated[Scheduled, Gt(0), doc("step size of Adam")]
ClipNorm = Annotated[Traced, Gt(0), doc("global norm to which gradients are clipped")]
MinibatchSize = Annotated[int, Ge(1), doc("rewards drawn from the buffer for each step")]
TrainSteps = Annotated[int, Ge(1), doc("optimizer steps of each training")]


@dataclass(frozen=True)
class LinearSettings:
    """Settings of a linear model of rewards."""

    tikhonov_weight: TikhonovWeight = 1.0
    add_bias: AddBias = False
    features: Features = "concat"


@dataclass(frozen=True)
class RewardRange:
    """What counts as a reward of 0 and of 1, for agents that need rewards in [0, 1]."""

    reward_low: Annotated[float | None, doc("reward that counts as 0; auto: the lowest that the environment pays")] = (
        None
    )
    reward_high: Annotated[
        float | None, doc("reward that counts as 1; auto: the highest that the environment pays")
    ] = None


def reward_bounds(spec: Spec, rewards: RewardRange) -> tuple[float, float]:
    """Take the bounds that are given, and those of the world in place of others.

    Raises:
        InputError: the world has no such bound, or the lower one is not below the upper one.
    """
    given = {"reward_low": rewards.reward_low, "reward_high": rewards.reward_high}
    for (name, value), own in zip(given.items(), spec.reward_range, strict=True):
        if value is None and not math.isfinite(own):
            raise InputError(f"{name} is auto, but rewards of this environment have no such bound; allowed: a number")
    lowest, highest = (own if x is None else x for x, own in zip(given.values(), spec.reward_range, strict=True))
    if lowest >= highest:
        raise InputError(f"reward_low is {lowest:g}; allowed: a number < reward_high, which is {highest:g}")
    return lowest, highest


def to_unit(reward: Float[Array, " B"], bounds: tuple[float, float]) -> Float[Array, " B"]:
    """Map the bounds to 0 and 1, and clip what lies outside."""
    low, high = bounds
    return jnp.clip((reward - low) / (high - low), 0.0, 1.0)


def at_count(value: Scheduled, count: Int[Array, ""]) -> Traced:
    """Value of a setting that may be a schedule of the update count."""
    return value(count) if callable(value) else value


def require_fixed_arms(spec: Spec, agent: str) -> None:
    """Raise an InputError where arms have features: arm k is another one in every round there."""
    if spec.arm_dim:
        raise InputError(f"agent is {agent!r}, but arms of this environment have features; allowed: fixed arms")
