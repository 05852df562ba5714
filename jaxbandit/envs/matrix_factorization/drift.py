"""Users whose tastes change: a random walk of the vectors that rewards are made of. It knows no arms."""

from typing import Annotated, NamedTuple

import jax
import numpy as np
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Key

from jaxbandit._core.arrays import floats

UserDrift = Annotated[
    float, Ge(0), doc("step of each user's tastes per round, in standard deviations of all users'; what is seen stays")
]


class Walk(NamedTuple):
    """Of each column of the vectors, over all users; and the step."""

    mean: Float[Array, " r"]
    spread: Float[Array, " r"]  # standard deviation
    sd: Float[Array, ""]


def walk(user: np.ndarray, sd: float) -> Walk | None:
    """Measure the vectors [U, r]; None where nobody walks."""
    if sd == 0:
        return None
    columns = user.astype(np.float64)
    return Walk(*(floats(x) for x in (columns.mean(axis=0), columns.std(axis=0), sd)))


def step(key: Key[Array, ""], walk: Walk, user: Float[Array, "U r"]) -> Float[Array, "U r"]:
    """Walk one round: m + (u - m + sd spread z) / sqrt(1 + sd^2), z ~ N(0, I).

    Mean and spread of all users stay, hence the scale of rewards and how popular an item is; a taste of n rounds ago
    has the correlation (1 + sd^2)^(-n/2) with that of today.
    """
    noise = walk.sd * walk.spread[None] * jax.random.normal(key, user.shape)
    return walk.mean[None] + (user - walk.mean[None] + noise) * jax.lax.rsqrt(1 + walk.sd**2)
