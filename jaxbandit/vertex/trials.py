"""Trials of a tuning job as the service tells of them: progress, a ranked table, a picture, the best. Asks nothing."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console

from jaxbandit import reporting
from jaxbandit._core.errors import Failure
from jaxbandit._core.files import write_bytes
from jaxbandit.vertex.study import Study

OPEN = ("REQUESTED", "ACTIVE", "STOPPING", "STATE_UNSPECIFIED")
SHOWN = 10  # trials of the printed table


class Trial(NamedTuple):
    """One trial; what the service leaves out of its JSON is filled in."""

    number: str
    state: str
    parameters: dict[str, Any]  # typed, found by their names
    value: float | None  # of the metric at the end
    why: str = ""


def read(study: Study, job: Mapping[str, Any]) -> list[Trial]:
    """Read the trials of a job; a metric that is 0 has no value in the service's JSON."""
    found = []
    for trial in job.get("trials", ()):
        parameters = {p["parameterId"]: p.get("value") for p in trial.get("parameters", ())}
        metrics = {m["metricId"]: m.get("value", 0.0) for m in trial.get("finalMeasurement", {}).get("metrics", ())}
        value = float(metrics.get(study.metric, math.nan))
        found.append(
            Trial(
                trial["id"],
                trial.get("state", OPEN[-1]),
                study.typed(parameters),
                value if math.isfinite(value) else None,
                trial.get("infeasibleReason", ""),
            )
        )
    return found


def ranked(study: Study, trials: list[Trial]) -> list[Trial]:
    """Succeeded trials with a value, the best first; of equals the earlier one."""
    done = [trial for trial in trials if trial.state == "SUCCEEDED" and trial.value is not None]
    sign = -1 if study.goal == "MAXIMIZE" else 1
    return sorted(done, key=lambda trial: sign * (trial.value or 0.0))


def best(study: Study, job: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the best trial: its number, metric and typed parameters.

    Raises:
        Failure: none has succeeded.
    """
    trials = read(study, job)
    leaders = ranked(study, trials)
    if not leaders:
        reasons = next((f": {trial.why}" for trial in trials if trial.why), "")
        raise Failure(f"no trial of {job['name']} has a {study.metric}{reasons}")
    metric = {"name": study.metric, "goal": study.goal, "value": leaders[0].value}
    return {"trial": leaders[0].number, "metric": metric, "parameters": leaders[0].parameters}


def progress(study: Study) -> Callable[[Mapping[str, Any]], None]:
    """Make what says, at each look at the job, how many trials have ended and what the best one has."""
    last = ""

    def watch(job: Mapping[str, Any]) -> None:
        nonlocal last
        trials = read(study, job)
        ended = sum(trial.state not in OPEN for trial in trials)
        failed = sum(trial.state == "INFEASIBLE" for trial in trials)
        text = f"  {ended} of {study.trials} trials" + (f", {failed} failed" if failed else "")
        if leaders := ranked(study, trials):
            text += f"; best {study.metric} {leaders[0].value:.5g}: {_words(leaders[0])}"
        if text != last:
            reporting.say(text)
        last = text

    return watch


def show(study: Study, job: Mapping[str, Any], directory: Path) -> None:
    """Print the best trials, and leave all of them in trials.csv and trials.png."""
    trials = read(study, job)
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
    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "trial": lambda row: row["trial"],
        **{name: partial(_cell, name) for name in (*names, study.metric)},
        "state": lambda row: row["state"].lower(),
    }
    reporting.print_rows(Console(), rows, cells)
    reporting.say(f"all {len(trials)} trials in {directory / 'trials.csv'}, a picture in trials.png")


def _cell(name: str, row: Mapping[str, Any]) -> str:
    return reporting.format_setting(row[name])


def _words(trial: Trial) -> str:
    return " ".join(f"{name}={reporting.format_setting(value)}" for name, value in trial.parameters.items())
