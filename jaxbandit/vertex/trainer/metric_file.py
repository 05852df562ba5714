"""The metric file of a tuning trial, which Vertex AI reads: the value so far, up to fifty times, and the final one.

Outside of a trial nothing is written.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Literal

from etils import epath

from jaxbandit import reporting
from jaxbandit._core.errors import InputError, refused_name
from jaxbandit._core.files import write_bytes
from jaxbandit.reporting.summary import Summary
from jaxbandit.simulation.metrics import Curves
from jaxbandit.vertex.trainer import TRIAL

SPEED = "interactions_per_second"
GOALS: dict[str, Literal["MAXIMIZE", "MINIMIZE"]] = {"higher": "MAXIMIZE", "lower": "MINIMIZE"}
METRICS = {f"final_{name}": GOALS[better] for name, better in reporting.METRICS.items()} | {SPEED: GOALS["higher"]}
DEFAULT = "final_average_return"
NAME, FILE = "JAXBANDIT_METRIC", "CLOUD_ML_HP_METRIC_FILE"
LINES = 100  # that are kept
REPORTS = 50  # while a run goes on


def chosen(environ: Mapping[str, str]) -> str:
    """Name the metric that a trial reports.

    Raises:
        InputError: there is none of that name.
    """
    name = environ.get(NAME, DEFAULT)
    if name not in METRICS:
        raise refused_name(f"{NAME} is", name, METRICS)
    return name


def value_of(summary: Summary, name: str) -> float | None:
    """Take a metric out of the content of summary.json; None where it is not finite."""
    return (
        summary["interactions_per_second"] if name == SPEED else summary["final"][name.removeprefix("final_")]["mean"]
    )


def report(name: str, value: float | None, step: int, environ: Mapping[str, str]) -> None:
    """Add a value to the metric file; `step` is the number of interactions of a lane so far.

    Raises:
        InputError: the value is not finite, or the file cannot be written.
    """
    trial = environ.get(TRIAL)
    if not trial:
        return
    if value is None or not math.isfinite(value):
        raise InputError(f"{name} is {'not finite' if value is None else value}; allowed: a finite number")
    path = epath.Path(environ.get(FILE, "/tmp/hypertune/output.metrics"))
    line = {"timestamp": time.time(), "trial": trial, name: str(float(value)), "global_step": str(step)}
    lines = path.read_text().splitlines()[1 - LINES :] if path.exists() else []
    lines.append(json.dumps(line | {"checkpoint_path": ""}, sort_keys=True))
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def while_running(name: str, rounds: int, environ: Mapping[str, str]) -> Callable[[Curves], None] | None:
    """Make a function that reports the metric while a run of so many rounds goes on; None outside of a trial.

    A value is that which the run would have if it ended now. One that is not finite is left out, and so is the speed.
    """
    if not environ.get(TRIAL) or name == SPEED:
        return None
    reports = 0

    def watch(curves: Curves) -> None:
        nonlocal reports
        done = int(curves.edges[-1])
        if done * REPORTS // rounds == reports or done == rounds:  # the final value is reported apart
            return
        reports = done * REPORTS // rounds
        value = reporting.final_lanes(curves, exact=False)[name.removeprefix("final_")].mean()
        if math.isfinite(value):
            report(name, float(value), int(curves.interactions[-1]), environ)

    return watch
