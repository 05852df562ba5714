"""Many configurations -> one ranked table, with the difference of each to the best. Draws and simulates nothing."""

import io
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
from etils import epath
from jaxtyping import Float, Int

from jaxbandit._core.errors import refused_name
from jaxbandit._core.files import write_bytes
from jaxbandit.reporting.numbers import setting_text
from jaxbandit.reporting.summary import final_lanes
from jaxbandit.simulation.metrics import Curves, RoundMetrics, mean_stderr

PerLane: TypeAlias = Float[np.ndarray, " _"]  # a number per lane; configurations differ in their lanes
METRICS: dict[str, Literal["lower", "higher"]] = {  # name in summary["final"] -> the better end
    "average_return": "higher",
    "average_return_so_far": "higher",
    "regret": "lower",
    "realized_regret": "lower",
    "cumulative_regret": "lower",
    "normalized_regret": "lower",
    "suboptimal_arms": "lower",
}
WHOLE_RUN = {"average_return_so_far", "cumulative_regret", "normalized_regret"}  # the others are of its final tenth
DIFFERENCE = ("difference", "difference_low", "difference_high")
RESULTS = {"rank", "rung", "seeds", "interactions", *DIFFERENCE, *METRICS, *(f"{name}_stderr" for name in METRICS)}
CONFIDENCE = 0.95


def tabulate(
    settings: Sequence[Mapping[str, object]],
    curves: Sequence[Curves],
    *,
    metric: str = "regret",
    rungs: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Rank configurations by the mean of `metric` over their seeds; a row each, the best first.

    Configurations of later rungs come before those of earlier ones, and those with a seed that is not finite last; ties
    keep their order. Columns: rank, every setting (null where the agent does not have it), rung, seeds, interactions
    (of one seed), each final number as NAME (nan where not finite) and NAME_stderr (null where not defined), and
    `difference` with `difference_low` and `difference_high`: of this configuration to the best one, the mean over the
    seeds that both have of the differences seed by seed, and its 95% Student t interval (null for one seed). A
    configuration of an earlier rung is compared with the best after as many rounds; null where no point of its curves
    is there.

    Raises:
        InputError: an unknown metric.
        ValueError: no point of a configuration's curves begins where the final tenth of its rounds does.
    """
    if metric not in METRICS:
        raise refused_name("unknown metric", metric, METRICS)
    lanes = [final_lanes(run) for run in curves]
    order = _order([run[metric] for run in lanes], METRICS[metric] == "higher", rungs)
    columns: dict[str, np.ndarray | pl.Series] = {"rank": np.arange(1, len(order) + 1)}
    columns |= setting_columns([settings[i] for i in order])
    if rungs is not None:
        columns["rung"] = np.asarray(rungs, np.int64)[order]
    columns["seeds"] = pl.Series([curves[i].sums.regret.shape[1] for i in order], dtype=pl.Int64)
    columns["interactions"] = pl.Series([int(curves[i].interactions[-1]) for i in order], dtype=pl.Int64)
    columns |= _metric_columns([lanes[i] for i in order])
    columns |= _difference_columns([lanes[i][metric] for i in order], _bests(curves, lanes, order, metric, rungs))
    nullable = [name for name in columns if name.endswith("_stderr") or name in DIFFERENCE]
    return pl.DataFrame(columns).with_columns(pl.col(nullable).fill_nan(None))


def write_results(directory: epath.PathLike, frame: pl.DataFrame) -> None:
    """Write results.parquet and results.csv, each wholly or not at all.

    Raises:
        InputError: the directory cannot be written.
    """
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    write_bytes(epath.Path(directory) / "results.parquet", parquet.getvalue())
    write_bytes(epath.Path(directory) / "results.csv", frame.write_csv().encode())


def setting_column(name: str) -> str:
    """Name the column of a setting: like the setting, unless a result has that name."""
    return f"{name} (setting)" if name in RESULTS else name


def setting_columns(settings: Sequence[Mapping[str, object]]) -> dict[str, pl.Series]:
    """Make a column for each setting that a configuration has; the number of seeds is among the results."""
    names = dict.fromkeys(name for one in settings for name in one if name != "seeds")
    return {setting_column(name): _column(name, [one.get(name) for one in settings]) for name in names}


def _order(lanes: Sequence[PerLane], descending: bool, rungs: Sequence[int] | None) -> Int[np.ndarray, " H"]:
    """Return the configurations' indices, the best first."""
    means = np.array([_mean(values) for values in lanes])
    diverged = np.isnan(means)
    keys = [np.where(diverged, 0.0, -means if descending else means), diverged]
    if rungs is not None:
        keys.insert(1, -np.asarray(rungs, np.int64))
    return np.lexsort(keys)  # the last key counts first; stable


def _mean(values: PerLane) -> float:
    """Compute the mean over the seeds; nan where one of them is not finite."""
    return float(values.mean()) if np.isfinite(values).all() else np.nan


def _column(name: str, values: Sequence[object]) -> pl.Series:
    """Make a column of numbers or truth values; tuples, and values of several kinds, become text."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if not kinds:
        return pl.Series(name, plain, pl.String)
    if kinds == {bool} or kinds <= {int, float}:
        dtype = pl.Boolean if bool in kinds else pl.Float64 if float in kinds else pl.Int64
        return pl.Series(name, plain, dtype, strict=False)
    return pl.Series(name, [None if value is None else setting_text(value) for value in plain], pl.String)


def _metric_columns(lanes: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    reduced = [mean_stderr(np.stack([run[name] for name in METRICS])) for run in lanes]
    estimates = np.array(reduced).reshape(-1, 2, len(METRICS))
    estimates[~np.isfinite(estimates)] = np.nan
    columns = {}
    for index, name in enumerate(METRICS):
        columns[name], columns[f"{name}_stderr"] = estimates[:, 0, index], estimates[:, 1, index]
    return columns


def _bests(
    curves: Sequence[Curves],
    lanes: Sequence[Mapping[str, PerLane]],
    order: Int[np.ndarray, " H"],
    metric: str,
    rungs: Sequence[int] | None,
) -> list[PerLane | None]:
    """List, for each configuration in order, the metric of the best one after as many rounds."""
    if not len(order):
        return []
    best = order[0]
    if rungs is None:
        return [lanes[best][metric]] * len(order)
    last = int(curves[best].edges[-1])
    rounds = [last if rungs[i] == rungs[best] else int(curves[i].edges[-1]) for i in order]
    after = {one: _after(curves[best], one, metric) for one in set(rounds) - {last}}
    return [lanes[best][metric] if one == last else after[one] for one in rounds]


def _after(curves: Curves, rounds: int, metric: str) -> PerLane | None:
    """Compute the metric of the lanes after their first `rounds` rounds; None where the curves lack a point for it."""
    points = int(np.searchsorted(curves.edges, rounds))
    if points == len(curves.edges) or curves.edges[points] != rounds:
        return None
    sums = RoundMetrics(*(field[:points] for field in curves.sums))
    try:
        return final_lanes(Curves(curves.batch_size, curves.edges[: points + 1], sums))[metric]
    except ValueError:  # no point begins where the final tenth of these rounds does
        return None


def _difference_columns(
    lanes: Sequence[PerLane], bests: Sequence[PerLane | None]
) -> dict[str, Float[np.ndarray, " H"]]:
    """Compute the paired differences d to the best, mean(d) ± t s.e.(d); nan where they are not defined.

    t is the 97.5% quantile of Student's distribution with one degree of freedom less than there are seeds. Source:
    Student 1908, "The Probable Error of a Mean", https://doi.org/10.1093/biomet/6.1.1
    """
    from scipy.special import stdtrit

    means, stderrs, freedom = np.full((3, len(lanes)), np.nan)
    for index, (own, best) in enumerate(zip(lanes, bests, strict=True)):
        both = 0 if best is None else min(len(own), len(best))
        if best is not None and np.isfinite(own).all() and np.isfinite(best).all():
            means[index], stderrs[index] = mean_stderr(own[:both] - best[:both])
            freedom[index] = both - 1
    margin = stdtrit(freedom, (1 + CONFIDENCE) / 2) * stderrs
    low, high = means - margin, means + margin
    if len(lanes) and np.isfinite(means[0]):  # the best differs by 0 from itself, also with one seed
        low[0] = high[0] = 0.0
    return dict(zip(DIFFERENCE, (means, low, high), strict=True))
