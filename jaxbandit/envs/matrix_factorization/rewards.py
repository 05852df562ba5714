"""An approximate rating -> the mean of what is paid, and a draw around it; `worlds` computes the ratings."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxbandit._core.arrays import floats
from jaxbandit._core.errors import InputError
from jaxbandit.types import Traced

Reward = Literal["expected", "gaussian", "star", "binary"]
MOST_STEPS = 100  # of a rating scale; the work of a round grows with them
TOP = 0.75  # a rating in the top quarter of the scale is good: 4 or 5 stars, 8 to 10 points, a click
ROUNDING = 1e-6  # of float32, as a share of the scale


class RewardParams(NamedTuple):
    """The rating scale and the noise."""

    mean: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    sd: Float[Array, ""]
    tail: Float[Array, " n"]  # binomial coefficients of the star counts that a binary reward calls good, else 0


def reward_params(
    kind: Reward, mean: float, low: float, high: float, sd: Traced, rating: np.ndarray, threshold: float | None
) -> RewardParams:
    """Collect the parameters; `rating` are the ratings that were fitted, whose scale has `low` and `high` as its ends.

    Raises:
        InputError: star or binary rewards of a factorisation that has no rating scale (svd, truth); a threshold that
            no rating or all ratings reach, or that nothing is compared with.
    """
    steps, good = 1, np.zeros(2, bool)
    if threshold is not None and kind != "binary":
        raise InputError(f"reward_threshold is {threshold:g}, but reward is {kind!r}; allowed: with reward binary")
    if kind in ("star", "binary"):
        if not np.isfinite(low + high):
            raise InputError(
                f"reward is {kind!r}, but factorizers svd and truth have no rating scale; allowed: expected | gaussian"
            )
        if low >= high:
            raise InputError(f"reward is {kind!r}, but all ratings are {low:g}; allowed: expected | gaussian")
        steps = scale_steps(rating, low, high)
        good = np.zeros(steps + 1, bool)
    if kind == "binary":
        if threshold is not None and not low < threshold <= high:
            raise InputError(f"reward_threshold is {threshold:g}; allowed: above {low:g}, to {high:g}")
        least = low + TOP * (high - low) if threshold is None else threshold
        good = np.linspace(low, high, steps + 1) >= least - ROUNDING * (high - low)
    choose = np.array([math.comb(steps, k) for k in range(steps + 1)], float)
    return RewardParams(*(floats(x) for x in (mean, low, high, sd, np.where(good, choose, 0))))


def scale_steps(rating: np.ndarray, low: float, high: float) -> int:
    """Count the equal steps from the lowest to the highest rating, on whose ends all ratings lie: 4 for 1 to 5 stars.

    Ratings that are finer than MOST_STEPS are taken for such as have that many.
    """
    places = (np.unique(rating).astype(np.float64) - low) / (high - low)
    if len(places) > MOST_STEPS + 1:
        return MOST_STEPS
    whole = (n for n in range(1, MOST_STEPS) if np.abs(places * n - np.round(places * n)).max() < ROUNDING * n)
    return next(whole, MOST_STEPS)


def reward_range(kind: Reward, low: float, high: float) -> tuple[float, float]:
    """Bounds of what is paid on a rating scale."""
    if kind == "gaussian":
        return -np.inf, np.inf
    return (0.0, 1.0) if kind == "binary" else (float(low), float(high))


def mean_reward(kind: Reward, params: RewardParams, rating: Float[Array, "B K"]) -> Float[Array, "B K"]:
    """Mean reward of every arm: the clipped rating, or the probability that its star is at least the threshold."""
    rating = jnp.clip(params.mean + rating, params.low, params.high)
    if kind != "binary":
        return rating
    share = ((rating - params.low) / (params.high - params.low))[..., None]
    count = jnp.arange(params.tail.shape[0], dtype=jnp.float32)[None, None]
    return jnp.sum(params.tail[None, None] * share**count * (1 - share) ** (count[..., -1:] - count), axis=-1)


def draw_reward(
    kind: Reward, key: Key[Array, ""], params: RewardParams, mean: Float[Array, " B"]
) -> Float[Array, " B"] | None:
    """Draw what is paid, whose mean is `mean` exactly; None: the mean itself.

    star: low + Binomial(n, p) / n (high - low), n steps of the scale, p the mean's place on it; binary: Bernoulli.
    """
    if kind == "expected":
        return None
    if kind == "gaussian":
        return mean + params.sd * jax.random.normal(key, mean.shape)
    if kind == "binary":
        return (jax.random.uniform(key, mean.shape) < mean).astype(mean.dtype)
    steps = params.tail.shape[0] - 1
    share = (mean - params.low) / (params.high - params.low)
    hits = jnp.mean(jax.random.uniform(key, (*mean.shape, steps)) < share[:, None], axis=-1)
    return params.low + hits * (params.high - params.low)
