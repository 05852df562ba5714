"""Curves -> the content of summary.json: final numbers of a run, mean and standard error over seeds. Writes no file."""

import math
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import numpy as np
from jaxtyping import Float

from jaxbandit.reporting.numbers import Estimate
from jaxbandit.reporting.series import named_curves
from jaxbandit.simulation.metrics import Curves, RoundMetrics, mean_stderr
from jaxbandit.types import Fact


class Totals(TypedDict):
    """How much was simulated, and how fast."""

    interactions: int
    seconds: dict[str, float]  # "compile" and "run"
    interactions_per_second: float | None


class SweepSummary(TypedDict):
    """What summary.json says of a sweep as a whole."""

    configurations: int
    programs: int
    interactions: int
    metric: str
    best: NotRequired[Mapping[str, bool | int | float | str | None]]  # flags of the best configuration


class Summary(Totals):
    """The content of summary.json: a run, or the best configuration of a sweep."""

    interactions_per_seed: int
    seeds: int
    final: dict[str, Estimate]
    baselines: dict[str, Estimate]
    diverged: NotRequired[int]  # seeds that are not finite at their end
    world: NotRequired[Mapping[str, Fact]]
    device: NotRequired[dict[str, str | int]]
    sweep: NotRequired[SweepSummary]
    files: NotRequired[Mapping[str, str]]  # SHA-256 of files beside it that later commands read


def summarize(curves: Curves, *, compile_seconds: float, run_seconds: float, simulated: int | None = None) -> Summary:
    """Summarise a finished run.

    An estimate is {"mean", "stderr"} over the seeds; None stands for the standard error of one seed, and for a number
    that is not finite. Return, regret and suboptimal arms are means per interaction over the final tenth of the rounds;
    realised regret is max_a E[r|x,a] - r_t; cumulative regret is over all interactions of a lane, and normalised as
    100 sum(regret) / sum(regret of uniform). In `run_seconds` `simulated` interactions were served, by default all of
    these curves.

    Raises:
        ValueError: no point of the curves begins where the final tenth of the rounds does.
    """
    rounds, (_, lanes) = int(curves.edges[-1]), curves.sums.regret.shape
    served = rounds * curves.batch_size * lanes
    return {
        "interactions": served,
        "interactions_per_seed": rounds * curves.batch_size,
        "seeds": lanes,
        "final": {name: estimate(values) for name, values in final_lanes(curves).items()},
        "baselines": {name: estimate(values) for name, values in _baseline_lanes(curves).items()},
        "diverged": int(np.sum(~np.isfinite(curves.sums.regret[-1]))),
        "seconds": {"compile": compile_seconds, "run": run_seconds},
        "interactions_per_second": _rate(served if simulated is None else simulated, run_seconds),
    }


def final_lanes(curves: Curves, *, exact: bool = True) -> dict[str, Float[np.ndarray, " L"]]:
    """Compute the final numbers of every lane, as `summarize` explains them.

    Unless `exact`, the window may be longer than the final tenth of the rounds: it begins with a point of the curves.

    Raises:
        ValueError: `exact`, and no point of the curves begins where the final tenth of the rounds does.
    """
    last, final = _ends(curves, exact)
    with np.errstate(invalid="ignore", divide="ignore"):  # all arms equally good: nothing to normalise by
        normalized = 100 * last["cumulative_regret"] / last["uniform_cumulative_regret"]
    return {
        "average_return": final["average_return"],
        "average_return_so_far": last["average_return_so_far"],
        "regret": final["regret"],
        "realized_regret": final["optimal"] - final["average_return"],
        "cumulative_regret": last["cumulative_regret"],
        "normalized_regret": normalized,
        "suboptimal_arms": final["suboptimal_arms"],
    }


def _baseline_lanes(curves: Curves) -> dict[str, Float[np.ndarray, " L"]]:
    last, final = _ends(curves)
    return {
        "uniform": final["uniform"],
        "optimal": final["optimal"],
        "uniform_regret": final["uniform_regret"],
        "uniform_cumulative_regret": last["uniform_cumulative_regret"],
    }


def _ends(
    curves: Curves, exact: bool = True
) -> tuple[dict[str, Float[np.ndarray, " L"]], dict[str, Float[np.ndarray, " L"]]]:
    """Return the last value of every curve, and its value over the final tenth of the run."""
    parts = (curves, _final_tenth(curves, exact))
    ends = [{name: values[-1] for name, values in named_curves(part).items()} for part in parts]
    return ends[0], ends[1]


def estimate(lanes: Float[np.ndarray, " L"]) -> Estimate:
    """Reduce one number per lane to its mean and standard error, in a form that strict JSON can carry."""
    mean, stderr = mean_stderr(lanes[None, :])
    return {"mean": _finite(mean[0]), "stderr": _finite(stderr[0])}


def _final_tenth(curves: Curves, exact: bool) -> Curves:
    """Merge the points of the final tenth of the rounds into one."""
    rounds = int(curves.edges[-1])
    start = rounds - math.ceil(rounds / 10)
    first = int(np.searchsorted(curves.edges, start, side="right")) - 1
    if exact and curves.edges[first] != start:
        raise ValueError(
            f"the final tenth of {rounds} rounds begins at round {start}, but no point does: "
            f"the nearest edges are {curves.edges[first]} and {curves.edges[first + 1]}"
        )
    sums = RoundMetrics(*(field[first:].sum(axis=0, keepdims=True) for field in curves.sums))
    return Curves(curves.batch_size, np.array([curves.edges[first], rounds]), sums)


def _finite(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rate(interactions: int, seconds: float) -> float | None:
    return interactions / seconds if interactions > 0 and seconds > 0 else None
