"""metrics.csv: learning curves as a table, written and read. Knows no other file of a run."""

import io
import os
from collections.abc import Mapping

import numpy as np
import polars as pl
from etils import epath

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes
from jaxbandit.reporting.series import SERIES, Series, series_of
from jaxbandit.simulation.metrics import Curves


def write_metrics_csv(path: epath.PathLike, curves: Curves) -> None:
    """Write one line per point: interactions of a lane, round, and NAME_mean and NAME_stderr of each curve.

    A standard error that is not defined, as for one seed, is an empty cell.

    Raises:
        InputError: the path cannot be written.
    """
    run = series_of(curves)
    columns: dict[str, np.ndarray] = {"interactions": run.interactions, "round": run.rounds}
    for name in run.means:
        columns[f"{name}_mean"], columns[f"{name}_stderr"] = run.means[name], run.stderrs[name]
    frame = pl.DataFrame(columns).with_columns(pl.col("^.*_stderr$").fill_nan(None))
    write_bytes(path, frame.write_csv().encode())


def read_metrics_csv(
    path: epath.PathLike, *, seeds: int | None = None, digests: Mapping[str, str] | None = None
) -> Series:
    """Read what `write_metrics_csv` wrote; the number of seeds is not in it, but in summary.json beside it.

    `digests` has that of the file by its name; None where it is of an older jaxbandit.

    Raises:
        InputError: the file cannot be read, is no metrics.csv, or not the one that was written.
    """
    way_out = "allowed: metrics.csv of a run"
    data = sealed.read_beside(path, digests, way_out)
    try:
        frame = pl.read_csv(io.BytesIO(data), infer_schema=False)
        whole, real = pl.col("interactions", "round"), pl.exclude("interactions", "round")
        frame = frame.select(whole.cast(pl.Int64), real.cast(pl.Float64))
        values = {name: frame[name].to_numpy() for name in frame.columns}  # empty cells become nan
        means = {name: values[f"{name}_mean"] for name in SERIES}
        stderrs = {name: values[f"{name}_stderr"] for name in SERIES}
    except (KeyError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{os.fspath(path)!r} cannot be read: {reason}; {way_out}") from None
    return Series(values["interactions"], values["round"], means, stderrs, seeds)
