"""Many configurations -> one table, ranked, with what tells each of them from the best. Draws and simulates nothing."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from etils import epath
from jaxtyping import Float, Int

from jaxbandit._core.errors import refused_name
from jaxbandit._core.files import write_bytes
from jaxbandit.reporting.numbers import setting_text
from jaxbandit.reporting.summary import final_lanes
from jaxbandit.simulation.metrics import Curves, RoundMetrics, mean_stderr

METRICS: dict[str, Literal["lower", "higher"]] = {  # of summary["final"]: which is better
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
    settings: Sequence[Mapping[str, Any]],
    curves: Sequence[Curves],
    *,
    metric: str = "regret",
    rungs: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Rank configurations by the mean of `metric` over their seeds; a row each, the best first.

    Configurations of later rungs come before those of earlier ones, and those with a seed that is not finite last;
    equals keep their order. Columns: rank, every setting (null where an agent has none such), rung, seeds, interactions
    (of one seed), each final number as NAME (nan where not finite) and NAME_stderr (null where not defined), and
    `difference`: this configuration less the best one, the mean of the differences seed by seed over the seeds that
    both have, with its 95% Student t interval (null for one seed). A configuration of an earlier rung is compared with
    what the best had reached after as many rounds; null where no row of the best ends there.

    Raises:
        InputError: an unknown metric.
        ValueError: no row of a configuration begins where the final tenth of its rounds does.
    """
    if metric not in METRICS:
        raise refused_name("unknown metric", metric, METRICS)
    lanes = [final_lanes(run) for run in curves]
    order = _order([run[metric] for run in lanes], METRICS[metric] == "higher", rungs)
    columns: dict[str, Any] = {"rank": np.arange(1, len(order) + 1)}
    columns |= setting_columns([settings[i] for i in order])
    if rungs is not None:
        columns["rung"] = np.asarray(rungs, np.int64)[order]
    columns["seeds"] = [curves[i].sums.regret.shape[1] for i in order]
    columns["interactions"] = [int(curves[i].interactions[-1]) for i in order]
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
    """Name the column of a setting: as the setting, except where a result has that name."""
    return f"{name} (setting)" if name in RESULTS else name


def setting_columns(settings: Sequence[Mapping[str, Any]]) -> dict[str, pl.Series]:
    """Make a column per setting that any configuration has; how many seeds there were is a result."""
    names = dict.fromkeys(name for one in settings for name in one if name != "seeds")
    return {setting_column(name): _column(name, [one.get(name) for one in settings]) for name in names}


def _order(lanes: Sequence[np.ndarray], descending: bool, rungs: Sequence[int] | None) -> Int[np.ndarray, " H"]:
    means = np.array([_mean(values) for values in lanes])
    diverged = np.isnan(means)
    keys = [np.where(diverged, 0.0, -means if descending else means), diverged]
    if rungs is not None:
        keys.insert(1, -np.asarray(rungs, np.int64))
    return np.lexsort(keys)  # the last key counts first; stable


def _mean(values: Float[np.ndarray, " L"]) -> float:
    """Mean over the seeds; nan where one of them is not finite."""
    return float(values.mean()) if np.isfinite(values).all() else np.nan


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    """Keep numbers and truth values as they are; tuples, and values of several kinds, become text."""
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
    lanes: Sequence[Mapping[str, np.ndarray]],
    order: Int[np.ndarray, " H"],
    metric: str,
    rungs: Sequence[int] | None,
) -> list[Float[np.ndarray, " L"] | None]:
    """Find, for each configuration, the numbers of the best one that it is to be compared with."""
    if not len(order):
        return []
    best = order[0]
    if rungs is None:
        return [lanes[best][metric]] * len(order)
    reached: dict[int, Any] = {int(curves[best].edges[-1]): lanes[best][metric]}
    found = []
    for index in order:
        rounds = int(curves[index].edges[-1]) if rungs[index] != rungs[best] else int(curves[best].edges[-1])
        if rounds not in reached:
            reached[rounds] = _reached(curves[best], rounds, metric)
        found.append(reached[rounds])
    return found


def _reached(curves: Curves, rounds: int, metric: str) -> Float[np.ndarray, " L"] | None:
    """Compute what the lanes had reached after so many rounds; None where the rows do not tell."""
    rows = int(np.searchsorted(curves.edges, rounds))
    if rows == len(curves.edges) or curves.edges[rows] != rounds:
        return None
    sums = RoundMetrics(*(field[:rows] for field in curves.sums))
    try:
        return final_lanes(Curves(curves.batch_size, curves.edges[: rows + 1], sums))[metric]
    except ValueError:  # no row begins where their final tenth does
        return None


def _difference_columns(
    lanes: Sequence[np.ndarray], bests: Sequence[np.ndarray | None]
) -> dict[str, Float[np.ndarray, " H"]]:
    """Compute paired differences to the best and their intervals; nan where they are not defined."""
    from scipy.special import stdtrit

    means, stderrs, freedom = np.full((3, len(lanes)), np.nan)
    for index, (own, best) in enumerate(zip(lanes, bests, strict=True)):
        both = 0 if best is None else min(len(own), len(best))
        if best is not None and np.isfinite(own).all() and np.isfinite(best).all():
            means[index], stderrs[index] = mean_stderr(own[:both] - best[:both])
            freedom[index] = both - 1
    margin = stdtrit(freedom, (1 + CONFIDENCE) / 2) * stderrs
    low, high = means - margin, means + margin
    if len(lanes) and np.isfinite(means[0]):  # the best has no difference to itself, also where it has but one seed
        low[0] = high[0] = 0.0
    return dict(zip(DIFFERENCE, (means, low, high), strict=True))
