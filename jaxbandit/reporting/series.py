"""The named learning curves that table, file, picture and TensorBoard all show, and their means over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxbandit.simulation.metrics import Curves, mean_stderr

SERIES = (
    "average_return",
    "average_return_so_far",
    "regret",
    "cumulative_regret",
    "suboptimal_arms",
    "uniform",
    "optimal",
    "uniform_regret",
    "uniform_cumulative_regret",
)


@dataclass(frozen=True, eq=False)
class Series:
    """What metrics.csv holds: the named curves of a run, reduced over its seeds. A curve has W points."""

    interactions: Int[np.ndarray, " W"]  # of one seed, up to each point
    rounds: Int[np.ndarray, " W"]
    means: Mapping[str, Float[np.ndarray, " W"]]
    stderrs: Mapping[str, Float[np.ndarray, " W"]]  # nan for one seed
    seeds: int | None = None  # None: read from a file, which does not say


def named_curves(curves: Curves) -> dict[str, Float[np.ndarray, "W L"]]:
    """Compute every curve of a run, by name.

    Means per interaction since the point before: average_return, regret, suboptimal_arms, uniform, optimal, and
    uniform_regret = optimal - uniform. Mean per interaction since the start of the run: average_return_so_far. Sums
    over all interactions of a lane so far: cumulative_regret and uniform_cumulative_regret.
    """
    means, sums = curves.means(), curves.sums
    rounds = (curves.edges[1:] - curves.edges[0])[:, None]
    values = (
        means.average_return,
        np.cumsum(sums.average_return, axis=0) / rounds,
        means.regret,
        curves.cumulative_regret(),
        means.suboptimal_arms,
        means.uniform,
        means.optimal,
        means.optimal - means.uniform,
        np.cumsum(sums.optimal - sums.uniform, axis=0) * curves.batch_size,
    )
    return {name: np.asarray(value) for name, value in zip(SERIES, values, strict=True)}


def series_of(curves: Curves) -> Series:
    """Reduce every named curve to its mean and standard error over the seeds."""
    reduced = {name: mean_stderr(values) for name, values in named_curves(curves).items()}
    return Series(
        interactions=curves.interactions,
        rounds=curves.edges[1:],
        means={name: mean for name, (mean, _) in reduced.items()},
        stderrs={name: stderr for name, (_, stderr) in reduced.items()},
        seeds=curves.sums.regret.shape[1],
    )
