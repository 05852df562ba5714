"""Successive halving: how many configurations go how far, and which go on. It simulates nothing.

Each rung keeps 1/eta of the configurations and gives them eta times the rounds, and about eta times the seeds, since
the number of lanes stays as it is. Without halving there is one rung, of all configurations and all rounds.
Source: K. Jamieson and A. Talwalkar, 2016, "Non-stochastic best arm identification and hyperparameter optimization",
https://arxiv.org/abs/1502.07943.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit._core.integers import ceil_div
from jaxbandit.experiments.config import Config, flag_values
from jaxbandit.experiments.sweep_config import SweepConfig
from jaxbandit.simulation import chunks
from jaxbandit.simulation.metrics import Curves, RoundMetrics


class Rung(NamedTuple):
    """A stage of a sweep."""

    num_configs: int  # that take part
    divisor: int  # of the rounds


class Result(NamedTuple):
    """How far a configuration got."""

    rung: int
    curves: Curves


def rungs(num_configs: int, eta: int | None) -> list[Rung]:
    """List the stages: 1/eta of the configurations go on to eta times the rounds, until at most eta are left."""
    counts = [num_configs]
    while eta is not None and counts[-1] > eta:
        counts.append(ceil_div(counts[-1], eta))
    return [Rung(count, (eta or 1) ** (len(counts) - 1 - i)) for i, count in enumerate(counts)]


def check_delays(configs: Sequence[Config], eta: int | None) -> None:
    """Raise InputError where a delay outlasts the first rung: nothing is learned there, and chance would decide."""
    divisor = rungs(len(configs), eta)[0].divisor
    for config in configs:
        first = ceil_div(config.rounds, divisor)
        if config.delay >= first:
            raise InputError(
                f"delay is {config.delay}, but the first rung of the halving has {first} of {config.rounds} rounds; "
                f"allowed: 0 to {first - 1}"
            )


def edges(rounds: int, stages: Sequence[Rung]) -> np.ndarray:
    """Rounds at which points of learning curves end in the last of `stages`, the rungs so far, of `rounds` in all.

    The final tenths of the earlier rungs are among them: there a dropped configuration is compared with the best one.
    """
    *earlier, last = (ceil_div(rounds, stage.divisor) for stage in stages)
    marks = [mark for end in earlier for mark in (end - math.ceil(end / 10), end)]
    return np.union1d(chunks.point_edges(last), marks).astype(np.int64)


def decide(
    sweep_config: SweepConfig,
    configs: Sequence[Config],
    results: Mapping[int, Result],
    alive: Sequence[int],
    num_kept: int,
) -> pl.DataFrame:
    """Rank those that are alive by the seeds that all of them have; the column `kept` marks the first `num_kept`."""
    seeds = min(results[i].curves.sums.regret.shape[1] for i in alive)  # groups have different numbers of them
    ranked = tabulate(sweep_config, configs, {i: _on_seeds(results[i], seeds) for i in alive})
    return ranked.with_columns(kept=pl.col("rank") <= num_kept)


def tabulate(sweep_config: SweepConfig, configs: Sequence[Config], results: Mapping[int, Result]) -> pl.DataFrame:
    """Rank configurations; column `configuration` has their places in `configs`."""
    return reporting.tabulate(
        [{"configuration": i, **flag_values(configs[i])} for i in results],
        [result.curves for result in results.values()],
        metric=sweep_config.metric,
        rungs=[result.rung for result in results.values()] if sweep_config.eta else None,
    )


def _on_seeds(result: Result, count: int) -> Result:
    """Keep the first seeds."""
    curves = result.curves
    sums = RoundMetrics(*(values[:, :count] for values in curves.sums))
    return result._replace(curves=Curves(curves.batch_size, curves.edges, sums))
