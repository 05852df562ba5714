"""Rewards for agents that need them in [0, 1]: what counts as 0 and as 1, and the scale between. It makes no agents."""

import math
from typing import Annotated

import jax.numpy as jnp
from annotated_types import doc
from jaxtyping import Array, Float

from jaxbandit._core.errors import InputError
from jaxbandit.types import Spec

RewardLow = Annotated[float | None, doc("reward that counts as 0; auto: the lowest that the environment pays")]
RewardHigh = Annotated[float | None, doc("reward that counts as 1; auto: the highest that the environment pays")]


def reward_bounds(spec: Spec, low: float | None, high: float | None) -> tuple[float, float]:
    """Take the bounds that are given, and those of the world in place of others.

    Raises:
        InputError: the world has no such bound, or the lower one is not below the upper one.
    """
    given = {"reward_low": low, "reward_high": high}
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
