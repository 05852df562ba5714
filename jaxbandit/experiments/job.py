"""Where a run or a sweep is laid out, and whom it tells: at home here, in a container by `vertex.trainer.job`."""

from collections.abc import Callable
from typing import NamedTuple

from jaxbandit.experiments import run_directory
from jaxbandit.experiments.run_directory import Places
from jaxbandit.reporting.summary import Summary
from jaxbandit.simulation.metrics import Curves


class Job(NamedTuple):
    """What a run is told, and whom it tells."""

    places: Places
    resume: bool
    report: Callable[[Curves], None] | None  # takes the learning curves so far
    finish: Callable[[Summary], None]  # takes the content of summary.json


def at_home(out: str, resume: bool) -> Job:
    """Lay a run out in one directory; it tells nobody."""
    return Job(run_directory.places(out), resume, None, lambda summary: None)
