"""An approximate rating -> the mean of what is paid, and a draw around it; `worlds` computes the ratings."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxbandit._core.arrays import floats
from jaxbandit._core.errors import InputError
from jaxbandit.types import Traced

Reward = Literal["expected", "gaussian", "star", "binary"]


class RewardParams(NamedTuple):
    """The rating scale and the noise."""

    mean: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    sd: Float[Array, ""]
    tail: Float[Array, " n"]  # binomial coefficients of the star counts that a binary reward calls good, else 0


def reward_params(kind: Reward, mean: float, low: float, high: float, sd: Traced) -> RewardParams:
    """Collect the parameters.

    Raises:
        InputError: star or binary rewards of a factorisation that has no rating scale (svd, truth).
    """
    steps = 1
    if kind in ("star", "binary"):
        if not np.isfinite(low + high):
            raise InputError(
                f"reward is {kind!r}, but factorizers svd and truth have no rating scale; allowed: expected | gaussian"
            )
        steps = _steps(low, high)
    counts = np.arange(steps + 1)
    choose = np.array([np.prod([(steps - j) / (j + 1) for j in range(k)]) for k in counts])
    good = low + counts * (high - low) / steps >= high - 1 if kind == "binary" else counts < 0
    numbers = (mean, low, high, sd, np.where(good, choose, 0))
    return RewardParams(*(floats(x) for x in numbers))


def reward_range(kind: Reward, low: float, high: float) -> tuple[float, float]:
    """Bounds of what is paid on a rating scale."""
    if kind == "gaussian":
        return -np.inf, np.inf
    return (0.0, 1.0) if kind == "binary" else (float(low), float(high))


def mean_reward(kind: Reward, params: RewardParams, rating: Float[Array, "B K"]) -> Float[Array, "B K"]:
    """Mean reward of every arm: the clipped rating, or the probability that its star is at most one below the top."""
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


def _steps(low: float, high: float) -> int:
    """Steps of the rating scale: whole stars where its ends are whole, else half stars."""
    return max(1, round(high - low if float(low).is_integer() else 2 * (high - low)))
