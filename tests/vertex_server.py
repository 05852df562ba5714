"""A local server that speaks Vertex AI's protocol to the unpatched SDK, and runs jobs as processes of this machine.

Real: the messages (google.cloud.aiplatform_v1) over gRPC with TLS and signed tokens, the JSON interface of Cloud
Storage, the life of jobs and trials, the variables that a container gets, the metric file, and the entrypoint of the
repository's Dockerfile. So launcher, protocol, trainer and metric are tried together.

What it cannot prove: that Vizier suggests or stops as the sampler here does; that there is quota and a free machine;
that IAM allows a call (any token of its own service account may do all); that an image can be built, pulled and
started; that a program runs on a GPU or TPU; that gcsfuse behaves as the directory that stands for it (renames,
caching, what two machines see of each other); how long anything takes; nor the service's own wording. Its checks of a
request are written from the documentation, and the service may know more.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from .cloud.calls import PROJECT, Calls, identity
from .cloud.control import Control
from .cloud.entries import LoggingService
from .cloud.image import read_image
from .cloud.jobs import JobService
from .cloud.lives import DONE, Job
from .cloud.replicas import Guard, Line, Site
from .cloud.storage import Storage
from .cloud.tracking import MetadataService, TensorboardService

REGION = "us-central1"
_VERTEX = "google.cloud.aiplatform.v1."


class VertexServer:
    """Serves while it is entered; at its end no process, thread or port of it is left.

    `variables` lead a process to it. A process reads the roots file at its first secure channel and never again: all
    servers of one process share a certificate, and a test that is a client itself sets the variables before that.

    Args:
        directory: Where buckets, and what the machines hold, are kept.
        buckets: Location of each bucket by its name, such as {"mine": "US-CENTRAL1"}.
        grace: Seconds between SIGTERM and SIGKILL.
        seed: Of the sampler.
    """

    project, region = PROJECT, REGION

    def __init__(self, directory: Path, buckets: Mapping[str, str], *, grace: float = 30.0, seed: int = 0):
        self._directory, self._locations, self._grace, self._seed = directory, dict(buckets), grace, seed
        self._calls = Calls()
        self.lines: list[Line] = []
        self.variables: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._guard = Guard()
        self._storage = Storage(self._directory / "buckets", self._locations)
        self.control = Control()
        self._tracking = TensorboardService(self.region), MetadataService(self.region)
        boards, metadata = self._tracking
        self._service = JobService(self._site(), self._storage.buckets, boards.tensorboards, self._seed)
        vertex = {"JobService": self._service, "TensorboardService": boards, "MetadataService": metadata}
        self._vertex = self._calls.serve({_VERTEX + name: service for name, service in vertex.items()})
        self._logging = self._calls.serve({"google.logging.v2.LoggingServiceV2": LoggingService(self.lines)})
        self.variables |= self._connection()
        return self

    def _site(self) -> Site:
        cache = Path(os.environ.get("JAXBANDIT_CACHE", self._directory / "cache"))
        mount, machines = self._directory / "buckets", self._directory / "machines"
        image = read_image()
        return Site(machines, mount, cache, image, self.variables, self.region, self._grace, self._guard, self.lines)

    def _connection(self) -> dict[str, str]:
        roots, account = self._directory / "roots.pem", self._directory / "account.json"
        roots.write_bytes(identity().certificate)
        account.write_text(identity().account)
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(roots),
            "JAXBANDIT_VERTEX_ENDPOINT": f"localhost:{self._vertex.port}",
            "JAXBANDIT_LOGGING_ENDPOINT": f"localhost:{self._logging.port}",
            "JAXBANDIT_CONTROL_ENDPOINT": f"http://127.0.0.1:{self.control.server_port}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self._storage.server_port}",
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._service.close()
        self._vertex.close()
        self._logging.close()
        self._storage.close()
        self.control.close()
        self._guard.close()
        crashes = [*self._calls.crashes, *self._service.crashes]
        if crashes and error is None:
            raise ExceptionGroup("the test server itself failed", crashes)

    @property
    def requests(self) -> list[tuple[str, Any]]:
        """The authorized calls so far, as (method, message): ("CreateCustomJob", CreateCustomJobRequest)."""
        return self._calls.requests

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs by name, in the order of their creation."""
        return self._service.jobs

    @property
    def tensorboards(self) -> dict[str, Any]:
        """The managed TensorBoards by name."""
        return self._tracking[0].tensorboards

    @property
    def contexts(self) -> dict[str, Any]:
        """The contexts of Vertex Experiments by name: experiments, and runs with their parameters and metrics."""
        return self._tracking[1].contexts

    @contextmanager
    def hiding(self, name: str) -> Iterator[None]:
        """Refuse storage.buckets.get of a bucket, as to who has roles/storage.objectAdmin alone."""
        self._storage.hidden.add(name)
        try:
            yield
        finally:
            self._storage.hidden.discard(name)

    def bucket(self, name: str) -> Path:
        """The directory that holds the objects of a bucket."""
        return self._storage.directory / self._storage.known(name)

    def fail_next(
        self, method: str, code: grpc.StatusCode | str, message: str, times: int = 1, after: bool = False
    ) -> None:
        """Answer the next calls of `method` with an error; `after`: carry them out all the same."""
        self._calls.fail_next(method, code, message, times, after)

    def preempt(self, job_name: str, trial: str | int | None = None, kill: bool = False) -> None:
        """Take the machines away as a spot VM does, and wait until the job runs again.

        Args:
            job_name: Resource name of a running job.
            trial: Which trial of a tuning job.
            kill: Whether the processes get no SIGTERM before they are gone.

        Raises:
            ValueError: If nothing runs that could be preempted.
            TimeoutError: If it is not running again after the time of grace.
        """
        self._service.preempt(job_name, "" if trial is None else str(trial), kill)

    def wait_for(self, job_name: str, state: str = "SUCCEEDED", timeout: float = 60) -> Job:
        """Wait until a job has reached a state such as RUNNING, and return it.

        Raises:
            AssertionError: If it has ended in another state, or has not come there in time; with its last lines.
        """
        state = state.removeprefix("JOB_STATE_")
        job = self._service.find(job_name)
        with self._service.changed:
            self._service.changed.wait_for(lambda: job.state == state or job.message.state in DONE, timeout)
            written = "\n".join(f"{x.task} {x.trial} {x.text}" for x in self.lines[-40:] if x.job == job.id)
            assert job.state == state, f"{job_name} is {job.state}: {job.message.error.message}\n{written}"
        return job
