"""The interface of what runs the stages of a launch: `cloud_runner` and `local_runner` implement it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from jaxbandit.vertex.state import Launch
from jaxbandit.vertex.trials import Trial

DONE = ("succeeded", "partially succeeded")
ENDED = (*DONE, "failed", "cancelled", "expired")


class Status(NamedTuple):
    """How far a stage is."""

    state: str  # one of ENDED, or another word while it goes on
    trials: tuple[Trial, ...] = ()  # of a study
    reason: str = ""  # why it has not succeeded


@runtime_checkable
class Runner(Protocol):
    """Runs the stages of one launch, and keeps their files."""

    launch: Launch  # with the jobs that are known so far

    def begin(self) -> None:
        """Take the name of a new launch. If its first stage is refused later, the name is free again.

        Raises:
            InputError: there is such a launch.
        """

    def start(self, stage: str) -> bool:
        """Start a stage unless it has been started; return whether this call has.

        Raises:
            InputError: it is refused.
        """

    def statuses(self, stage: str) -> Iterator[Status]:
        """Follow a stage that was started: its status again and again, the last time when it has ended."""

    def where(self, stage: str) -> str:
        """Where a person finds the stage."""

    def last_line(self, stage: str, trial: str | None = None) -> str:
        """What a stage, or one trial of it, has said last, unless that is part of the reason already."""

    def read(self, path: str) -> bytes:
        """Read a file that a stage has left behind."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file where a later stage reads it."""

    def fetch(self, stage: str) -> Path:
        """Directory on this machine with the results of a training or a sweep."""
