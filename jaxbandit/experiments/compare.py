"""Finished runs and sweeps, read back from their directories, beside each other: table, picture, CSV. Runs nothing."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import polars as pl
from etils import epath
from rich.console import Console

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted, write_bytes
from jaxbandit._core.fitting import misfit
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.experiments.config import BESIDE, RATINGS, REGISTRIES
from jaxbandit.reporting.console import estimate_cell, print_rows
from jaxbandit.reporting.files import read_metrics_csv
from jaxbandit.reporting.numbers import UNKNOWN, format_setting
from jaxbandit.reporting.plots import plot_curves
from jaxbandit.reporting.progress import print_plain
from jaxbandit.reporting.results import METRICS, setting_column, setting_columns
from jaxbandit.reporting.series import Series
from jaxbandit.reporting.summary import Summary

FINISHED = "allowed: the directory of a finished run or sweep"
OWN_COLUMN = ("agent", "env", "seeds")  # of the table, so not among the settings that differ
SCHEDULE = ("batch-size", "training-loops", "steps-per-loop")
SHOWN = ("average_return", "regret", "suboptimal_arms", "cumulative_regret")


Row: TypeAlias = Mapping[str, object]  # values by the names of their columns


class Finished(NamedTuple):
    """A finished run, or the best configuration of a finished sweep."""

    directory: str
    settings: Row  # by the names of flags
    summary: Summary
    series: Series
    is_sweep: bool
    read: Row  # fingerprints, by path


def compare(directories: Sequence[str], out: str, *, console: Console | None = None) -> pl.DataFrame:
    """Print a row per directory, and write comparison.png and comparison.csv to `out`; return the table.

    A directory is that of a finished run, or of a finished sweep, which stands for its best configuration. One that is
    named twice is taken once.

    Raises:
        InputError: a directory is missing, holds no run or an unfinished one, or `out` cannot be written. Nothing is
            written unless all can be read.
    """
    if not directories:
        raise InputError("directories: there is none; allowed: one or more")
    given = {_absolute(directory): directory for directory in directories}
    runs = [_read(directory) for directory in given.values()]
    names = _unique_names(list(given))
    frame = _tabulate(runs, names)
    envs = ", ".join(dict.fromkeys(str(run.settings.get("env")) for run in runs))
    curves = {name: run.series for name, run in zip(names, runs, strict=True)}
    place = epath.Path(mounted(out))
    plot_curves(place / "comparison.png", curves, title=f"Learning curves on {envs}")
    write_bytes(place / "comparison.csv", frame.write_csv().encode())
    console = console or Console()
    _print(frame, [run.settings for run in runs], _notes(runs, names), console)
    print_plain(console, f"picture and table in {out}: comparison.png, comparison.csv")
    return frame


def _absolute(directory: str) -> str:
    return directory.rstrip("/") if "://" in directory else os.path.abspath(directory)


def _read(directory: str) -> Finished:
    path = epath.Path(mounted(directory))
    if not path.is_dir():
        reason = "is no directory" if path.exists() else "does not exist"
        raise InputError(f"directory is {directory!r}, which {reason}; {FINISHED}")
    if not (path / "config.json").exists():
        raise InputError(f"directory is {directory!r}, which holds no run; {FINISHED}")
    if not (path / "summary.json").exists():
        raise InputError(f"directory is {directory!r}, whose run is unfinished (no summary.json); {FINISHED}")
    config, content = (sealed.read(path / name, FINISHED) for name in ("config.json", "summary.json"))
    wrong = misfit(content, Summary)
    if wrong or not set(METRICS) <= set(content["final"]):
        raise InputError(f"{os.fspath(path / 'summary.json')!r} is not that of a run ({wrong or 'final'}); {FINISHED}")
    summary = cast(Summary, content)
    series = read_metrics_csv(path / "metrics.csv", seeds=summary["seeds"], digests=summary.get("files"))
    return Finished(directory, _settings(path, config, summary), summary, series, "base" in config, _read_of(config))


def _settings(path: epath.Path, config: Row, summary: Summary) -> dict[str, object]:
    """Settings of a run, or of the best configuration of a sweep."""
    if "base" not in config:
        return _flat(config)
    best = summary["sweep"].get("best") if "sweep" in summary else None  # best.json is for people to change
    if best is None:  # as an older jaxbandit wrote it
        best = sealed.read_edited(path / "best.json", FINISHED)
    return {name: value for name, value in best.items() if name != "fingerprints"}


def _read_of(config: Row) -> Row:
    """Fingerprints of what was read, by path."""
    base = config.get("base", config)
    found = base.get("fingerprints") if isinstance(base, dict) else None
    return found if isinstance(found, dict) else {}


def _flat(config: Row) -> dict[str, object]:
    """Lay the entries of a run's config.json and its settings beside each other, named as flags."""
    inner = [f"{kind}_settings" for kind in REGISTRIES]
    entries = {name: value for name, value in config.items() if name not in (*inner, *BESIDE, "fingerprints")}
    for name in inner:
        settings = config.get(name)
        entries |= settings if isinstance(settings, dict) else {}
    return {name.replace("_", "-"): value for name, value in entries.items()}


def _unique_names(directories: Sequence[str]) -> list[str]:
    """Name directories by as few of the last parts of their paths as tell them apart."""
    parts = [[part for part in directory.split("/") if part] or ["/"] for directory in directories]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        depth = next((d for d in range(1, len(own)) if all(own[-d:] != other[-d:] for other in others)), len(own))
        names.append("/".join(own[-depth:]))
    return names


def _tabulate(runs: Sequence[Finished], names: Sequence[str]) -> pl.DataFrame:
    """Make a row per run: name, directory, all settings, final numbers, seeds, interactions/s."""
    columns: dict[str, Iterable[object] | pl.Series] = {"name": names, "directory": [run.directory for run in runs]}
    columns |= setting_columns([run.settings for run in runs])
    for name in METRICS:
        estimates = [run.summary["final"][name] for run in runs]
        columns[name] = [np.nan if one["mean"] is None else float(one["mean"]) for one in estimates]
        columns[f"{name}_stderr"] = pl.Series([one["stderr"] for one in estimates], dtype=pl.Float64)
    columns["seeds"] = [run.summary["seeds"] for run in runs]
    rates = [run.summary["interactions_per_second"] for run in runs]
    columns["interactions_per_second"] = pl.Series(rates, dtype=pl.Float64)
    return pl.DataFrame(columns)


def _differing(settings: Sequence[Row], names: Iterable[str] | None = None) -> list[str]:
    """List the settings, in the order of their first appearance, of which those that have them have several values."""
    different: dict[str, set[str]] = {}
    for one in settings:
        for name, value in one.items():
            different.setdefault(name, set()).add(repr(value))
    return [name for name, values in different.items() if len(values) > 1 and (names is None or name in names)]


def _print(frame: pl.DataFrame, settings: Sequence[Row], notes: Sequence[str], console: Console) -> None:
    columns: dict[str, Callable[[Row], str]] = {"": partial(_setting, "name")}
    named = [name for name in _differing(settings) if name not in OWN_COLUMN]
    columns |= {name: partial(_setting, setting_column(name)) for name in ("agent", "env", *named)}
    columns |= {name.replace("_", "\n", 1): partial(estimate_cell, name) for name in SHOWN}
    columns |= {"seeds": partial(_setting, "seeds"), "interactions/s": _rate}
    print_rows(console, frame.iter_rows(named=True), columns)
    for line in notes:
        print_plain(console, line, "dim")


def _setting(column: str, row: Row) -> str:
    return format_setting(row.get(column))


def _rate(row: Row) -> str:
    rate = row["interactions_per_second"]
    return UNKNOWN if rate is None else f"{rate:,.0f}"


def _notes(runs: Sequence[Finished], names: Sequence[str]) -> list[str]:
    """Say what the numbers are, and what keeps them from being compared one by one."""
    settings = [run.settings for run in runs]
    envs = {str(one.get("env")) for one in settings} & REGISTRIES["env"].keys()
    inner = {name for env in envs for name in hyperparameters(REGISTRIES["env"][env])}
    world = {name.replace("_", "-") for name in ("env", "seed", *RATINGS, *inner)}
    notes = ["mean ± standard error over seeds"] if any(run.summary["seeds"] > 1 for run in runs) else []
    sweeps = [name for name, run in zip(names, runs, strict=True) if run.is_sweep]
    if sweeps:
        notes.append(f"the best configuration of a sweep, chosen by the seeds that are shown: {', '.join(sweeps)}")
    for words, chosen in (("worlds", world), ("schedules", SCHEDULE)):
        differing = _differing(settings, chosen)
        if differing:
            notes.append(f"not of equal {words}: they differ in {', '.join(differing)}")
    read = [one.read for one in runs]
    if changed := _differing(read):
        notes.append(f"not of equal worlds: the runs have not read the same in {', '.join(changed)}")
    return notes
