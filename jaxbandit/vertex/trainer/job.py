"""`jaxbandit run` or `sweep` inside a container of Vertex AI: what its environment variables add to it.

A job says where results, checkpoints and events go, goes on with what was interrupted there, reports the metric of a
tuning trial, and leaves the policy beside the results. It simulates nothing.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
from etils import epath

from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted
from jaxbandit.experiments import run_directory
from jaxbandit.experiments.config import Config, FlagValue, checked, flag_values
from jaxbandit.experiments.job import Job
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.sweep_config import SweepConfig
from jaxbandit.reporting.summary import Summary
from jaxbandit.vertex.trainer import RESULTS, experiments, metric_file

CHECKPOINTS, EVENTS = "AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR"
POLICY = "policy"


@contextmanager
def job(config: Config | SweepConfig, out: str | None, default: str, resume: bool) -> Iterator[Job]:
    """Lay out a run or a sweep: in `out`, or where Vertex AI wants it, or else in `default`.

    On Vertex AI the same command goes on with what it finds there of itself, so that a job survives preemption.

    Raises:
        InputError: an unknown metric, or Vertex Experiments refuses.
    """
    environ = os.environ
    if project := environ.get(experiments.PROJECT):
        environ.setdefault("GOOGLE_CLOUD_PROJECT", project)
    places, name = _places(out, default, environ), metric_file.chosen(environ)
    resume = resume or _begun(places)
    rounds = config.rounds if isinstance(config, Config) else None
    with ExitStack() as stack:
        track = processes.by_first(lambda: stack.enter_context(experiments.tracked(_settings(config), environ)))
        report = None if rounds is None else metric_file.while_running(name, rounds, environ)

        def finish(summary: Summary) -> None:
            def report_final() -> None:
                step = summary["interactions_per_seed"]
                metric_file.report(name, metric_file.value_of(summary, name), step, environ)
                if rounds is not None:
                    _export(places)
                if track is not None:
                    track(summary)

            processes.by_first(report_final)  # and the others wait for it

        yield Job(places, resume, report, finish)


def _places(out: str | None, default: str, environ: Mapping[str, str]) -> Places:
    """An explicit place holds all; else each part goes where Vertex AI says, if it does."""
    home = run_directory.places(out or environ.get(RESULTS) or default)
    if out or not environ.get(RESULTS):
        return home
    apart = [environ.get(name) for name in (CHECKPOINTS, EVENTS)]
    checkpoints, events = (epath.Path(mounted(path)) if path else None for path in apart)
    return Places(home.results, checkpoints or home.checkpoints, events or home.tensorboard)


def _begun(places: Places) -> bool:
    """Whether a run or a sweep has begun there; all processes get the answer of the first one."""
    path = places.results / "config.json"
    return bool(processes.from_first(lambda: np.array(path.exists()), partial(np.zeros, (), bool)))


def _settings(config: Config | SweepConfig) -> Mapping[str, FlagValue]:
    """Flags and values to log; of a sweep those that all its configurations share."""
    if isinstance(config, Config):
        return flag_values(checked(config))
    shared = flag_values(checked(config.base))
    swept: dict[str, FlagValue] = {"swept": ", ".join(config.swept), "configurations": len(config.configurations)}
    swept["metric"] = config.metric
    return {name: value for name, value in shared.items() if name not in config.swept} | swept


def _export(places: Places) -> None:
    """Leave the policy beside the results; an agent that cannot act elsewhere leaves none."""
    from jaxbandit.policies import export

    try:
        export.export(str(places.results), str(places.results / POLICY), checkpoints=str(places.checkpoints))
    except InputError as error:
        print(f"jaxbandit: warning: no policy: {error}", file=sys.stderr)
