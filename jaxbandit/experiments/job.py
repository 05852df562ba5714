"""Where a run leaves its files and to whom it reports: at home here, in a container `vertex.trainer.job` says it."""

from collections.abc import Callable
from typing import NamedTuple

from jaxbandit.experiments import run_directory
from jaxbandit.experiments.run_directory import Places
from jaxbandit.reporting.summary import Summary
from jaxbandit.simulation.metrics import Curves


class Job(NamedTuple):
    """Directories of a run, whether it is resumed, and who hears of its results."""

    places: Places
    resume: bool
    report: Callable[[Curves], None] | None  # takes the learning curves so far
    finish: Callable[[Summary], None]  # takes the content of summary.json


def at_home(out: str, resume: bool) -> Job:
    """Lay a run out in one directory, with nobody to report to."""
    return Job(run_directory.places(out), resume, None, lambda summary: None)
