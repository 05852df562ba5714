"""Metrics of a round inside the program, and means and standard errors over seeds after it. Draws no pictures."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxbandit.types import Outcome


class RoundMetrics(NamedTuple):
    """Means over the batch of one round, or sums of such means over the rounds of a point."""

    average_return: Float[Array | np.ndarray, "..."]
    regret: Float[Array | np.ndarray, "..."]
    suboptimal_arms: Float[Array | np.ndarray, "..."]
    uniform: Float[Array | np.ndarray, "..."]
    optimal: Float[Array | np.ndarray, "..."]


def measure(outcome: Outcome) -> RoundMetrics:
    """Reduce one round over its batch.

    Regret is the pseudo-regret max_a E[r|x,a] - E[r|x,a_t]; an arm tied with the best is not suboptimal. The
    rewards [B, M] of a slate add up.
    """
    reward = outcome.reward if outcome.reward.ndim == 1 else jnp.sum(outcome.reward, axis=1)
    return RoundMetrics(
        average_return=jnp.mean(reward),
        regret=jnp.mean(outcome.optimal - outcome.expected),
        suboptimal_arms=jnp.mean((outcome.expected < outcome.optimal).astype(jnp.float32)),
        uniform=jnp.mean(outcome.uniform),
        optimal=jnp.mean(outcome.optimal),
    )


@dataclass(frozen=True, eq=False)
class Curves:
    """Learning curves on the host: P points in time of L lanes (seeds). A point sums up a fixed span of rounds."""

    batch_size: int
    edges: np.ndarray  # [P + 1] int64: point p covers the rounds edges[p] ... edges[p + 1] - 1
    sums: RoundMetrics  # float64 [P, L] each: per-round batch means summed over the rounds of the point

    @property
    def interactions(self) -> np.ndarray:
        """Interactions of one lane up to the end of each point, int64 [P]."""
        return self.edges[1:] * self.batch_size

    def means(self) -> RoundMetrics:
        """Per-interaction means within each point, float64 [P, L]."""
        rounds = np.diff(self.edges)[:, None]
        return RoundMetrics(*(field / rounds for field in self.sums))

    def cumulative_regret(self) -> np.ndarray:
        """Regret summed over all interactions of a lane so far, float64 [P, L]."""
        return np.cumsum(self.sums.regret, axis=0) * self.batch_size


def mean_stderr(values: np.ndarray, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its standard error (sample sd / sqrt(L)) over the lanes; the error of one lane is nan."""
    count = values.shape[axis]
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.std(values, axis=axis, ddof=1) if count > 1 else np.full(np.delete(values.shape, axis), np.nan)
        return np.asarray(np.mean(values, axis=axis)), np.asarray(sd / np.sqrt(count))
