"""The life of a job from its creation to its end, as steps that one thread takes. It answers no calls."""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import grpc
from google.cloud import aiplatform_v1 as v1
from google.rpc import status_pb2

from .replicas import Site
from .runs import Ending, Run

PENDING = 0.1  # seconds that a job waits for its machines
State = v1.JobState
DONE = (State.JOB_STATE_SUCCEEDED, State.JOB_STATE_FAILED, State.JOB_STATE_CANCELLED)
CANCELLED = Ending("cancelled", "The job was cancelled.")
CODES = {
    "failed": grpc.StatusCode.INVALID_ARGUMENT,
    "timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
    "preempted": grpc.StatusCode.ABORTED,
    "cancelled": grpc.StatusCode.CANCELLED,
}


class Preemption(NamedTuple):
    """What a test has asked for."""

    trial: str
    kill: bool


class Job(ABC):
    """A job that was created: what the service tells about it, and its runs by trial ("" for a custom job's one)."""

    def __init__(self, message: Any, site: Site):
        self.message = message
        self.site = site
        self.runs: dict[str, Run] = {}
        self.preemptions: list[Preemption] = []
        self.cancelled = False

    @property
    def id(self) -> str:
        return self.message.name.rpartition("/")[2]

    @property
    def state(self) -> str:
        """State without its prefix: SUCCEEDED."""
        return State(self.message.state).name.removeprefix("JOB_STATE_")

    @property
    def restarts(self) -> int:
        """How often its machines were taken away and it was started again, over all trials."""
        return sum(run.restarts for run in self.runs.values())

    def live(self) -> Iterator[None]:
        """Take the job to its end, one step at a time."""
        start = now()
        while (now() - start).total_seconds() < PENDING and not self.cancelled:
            yield
        if self.cancelled:
            return self.end(CANCELLED)
        self.message.state = State.JOB_STATE_RUNNING
        self.message.start_time = self.message.update_time = now()
        ending = yield from self.run()
        return self.end(ending)

    @abstractmethod
    def run(self) -> Generator[None, None, Ending]:
        """Start what the job consists of, and return its ending once all of it has ended."""

    def obey(self) -> None:
        """Pass on what clients and tests have asked for since the last step."""
        if self.cancelled:
            for run in self.runs.values():
                run.leave(CANCELLED)
        for preemption in self.preemptions:
            run = self.runs[preemption.trial]
            run.leave(Ending("preempted", "The machines of the job were preempted."), preemption.kill)
        self.preemptions.clear()

    def end(self, ending: Ending) -> None:
        """Tell that the job is over, and why."""
        states = {"succeeded": State.JOB_STATE_SUCCEEDED, "cancelled": State.JOB_STATE_CANCELLED}
        self.message.state = states.get(ending.reason, State.JOB_STATE_FAILED)
        self.message.end_time = self.message.update_time = now()
        if ending.reason != "succeeded":
            self.message.error = status_pb2.Status(code=CODES[ending.reason].value[0], message=ending.message)


class Custom(Job):
    """A CustomJob: one run."""

    def run(self) -> Generator[None, None, Ending]:
        run = self.runs[""] = Run(self.site, self.message.job_spec, self.id)
        ending = None
        while ending is None:
            yield
            self.obey()
            ending = run.poll()
        return ending


def now() -> datetime.datetime:
    """The time as the service writes it."""
    return datetime.datetime.now(datetime.UTC)
