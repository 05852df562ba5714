"""The trials of a study: progress, a ranked table, a picture, the best. It runs none and asks no service."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

import polars as pl
from rich.console import Console

from jaxbandit import reporting
from jaxbandit._core.errors import Failure
from jaxbandit._core.files import write_bytes
from jaxbandit.vertex.study import Study, Value
from jaxbandit.vertex.wire import JobJson, Json

OPEN = ("REQUESTED", "ACTIVE", "STOPPING", "STATE_UNSPECIFIED")
SHOWN, WIDTH = 10, 60  # trials of the printed table, characters of why one has failed


class Trial(NamedTuple):
    """One trial; what the service leaves out of its JSON is filled in."""

    number: str
    state: str
    parameters: dict[str, Value]  # by the names of their flags
    value: float | None  # of the metric at the end; None where there is none, or none that is finite
    why: str = ""  # it has failed


def read(study: Study, job: JobJson) -> list[Trial]:
    """Read the trials of a job; a parameter or a metric that is 0 has no value in the service's JSON."""
    trials = []
    for trial in job.get("trials", ()):
        parameters = {p["parameterId"]: p.get("value", 0.0) for p in trial.get("parameters", ())}
        metrics = {m["metricId"]: m.get("value", 0.0) for m in trial.get("finalMeasurement", {}).get("metrics", ())}
        value = float(metrics.get(study.metric, math.nan))
        trials.append(
            Trial(
                trial["id"],
                trial.get("state", OPEN[-1]),
                study.typed(parameters),
                value if math.isfinite(value) else None,
                trial.get("infeasibleReason", ""),
            )
        )
    return trials


def ranked(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """Succeeded trials with a value, the best first; of equals the earlier one."""
    done = [trial for trial in trials if trial.state == "SUCCEEDED" and trial.value is not None]
    sign = -1 if study.goal == "MAXIMIZE" else 1
    return sorted(done, key=lambda trial: sign * (trial.value or 0.0))


def best(study: Study, trials: Sequence[Trial], name: str) -> Trial:
    """Return the best trial of the study `name`.

    Raises:
        Failure: none has succeeded.
    """
    leaders = ranked(study, trials)
    if not leaders:
        reason = next((f": {trial.why}" for trial in trials if trial.why), "")
        raise Failure(f"no trial of {name} has a {study.metric}{reason}")
    return leaders[0]


def describe(study: Study, trial: Trial) -> dict[str, Json]:
    """Number, metric and typed parameters of a trial, as result.json has them."""
    metric = {"name": study.metric, "goal": study.goal, "value": trial.value}
    return {"trial": trial.number, "metric": metric, "parameters": trial.parameters}


def progress(study: Study, trials: Sequence[Trial]) -> str:
    """Say in a line how many trials have ended, and what the best one has."""
    ended = sum(trial.state not in OPEN for trial in trials)
    failed = sum(trial.state == "INFEASIBLE" for trial in trials)
    line = f"  {ended} of {study.trials} trials" + (f", {failed} failed" if failed else "")
    if leaders := ranked(study, trials):
        line += f"; best {study.metric} {leaders[0].value:.5g}: {_settings(leaders[0])}"
    return line


def show(study: Study, trials: Sequence[Trial], directory: Path) -> None:
    """Print the best trials, and leave all of them in trials.csv and trials.png."""
    if not trials:
        return
    leaders = ranked(study, trials)
    ordered = leaders + [trial for trial in trials if trial not in leaders]
    names = [parameter.name for parameter in study.parameters]
    columns = {
        "trial": [trial.number for trial in ordered],
        **{name: [trial.parameters.get(name) for trial in ordered] for name in names},
        study.metric: [trial.value for trial in ordered],
        "state": [trial.state for trial in ordered],
        "why": [trial.why for trial in ordered],
    }
    frame = pl.DataFrame(columns, strict=False)
    write_bytes(directory / "trials.csv", frame.write_csv().encode())
    title = f"{len(trials)} trials, {study.metric}"
    values = {int(trial.number): trial.value for trial in leaders if trial.value is not None}
    reporting.plot_trials(directory / "trials.png", values, higher=study.goal == "MAXIMIZE", title=title)
    rows = [dict(row, rank=rank) for rank, row in enumerate(frame.head(SHOWN).to_dicts(), start=1)]
    cells: dict[str, Callable[[Mapping[str, Value]], str]] = {
        "trial": lambda row: str(row["trial"]),
        **{name: partial(_cell, name) for name in (*names, study.metric)},
        "state": lambda row: str(row["state"]).lower(),
    }
    failed = [trial for trial in ordered if trial.why]
    if any(row["why"] for row in rows):
        cells["why"] = lambda row: shorten(str(row["why"]), WIDTH, placeholder="...")
    reporting.print_rows(Console(), rows, cells)
    if failed:
        reporting.say(f"trial {failed[0].number} failed: {failed[0].why}")
    reporting.say(f"all {len(trials)} trials in {directory / 'trials.csv'}, a picture in trials.png")


def _cell(name: str, row: Mapping[str, Value]) -> str:
    return reporting.format_setting(row[name])


def _settings(trial: Trial) -> str:
    return " ".join(f"{name}={reporting.format_setting(value)}" for name, value in trial.parameters.items())
