"""Vertex AI's JobService: the calls, and the threads that take the jobs through their lives."""

import itertools
import threading
from typing import Any

import grpc
from google.cloud import aiplatform_v1 as v1
from google.protobuf import empty_pb2

from . import checks, filters
from .calls import Refusal, absent, full_name, invalid, page
from .lives import DONE, Custom, Job, Preemption, State, now
from .replicas import Site
from .runs import Ending
from .tuning import Tuning

TICK = 0.03  # seconds between two looks at the processes
Message = v1.CustomJob | v1.HyperparameterTuningJob


class JobService:
    """google.cloud.aiplatform.v1.JobService."""

    def __init__(self, site: Site, buckets: dict[str, str], tensorboards: dict[str, Any], seed: int):
        self.jobs: dict[str, Job] = {}  # by name, in the order of their creation
        self.changed = threading.Condition()
        self.crashes: list[Exception] = []
        self._site, self._buckets, self._tensorboards, self._seed = site, buckets, tensorboards, seed
        self._ids = itertools.count(7_000_000_000_000_000_001)
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    # What a client calls.

    def create_custom_job(self, request: v1.CreateCustomJobRequest) -> v1.CustomJob:
        job = v1.CustomJob(request.custom_job)
        self._check(request.parent, job, job.job_spec)
        return self._create(request.parent, "customJobs", Custom(job, self._site))

    def create_hyperparameter_tuning_job(
        self, request: v1.CreateHyperparameterTuningJobRequest
    ) -> v1.HyperparameterTuningJob:
        job = v1.HyperparameterTuningJob(request.hyperparameter_tuning_job)
        self._check(request.parent, job, job.trial_job_spec)
        checks.check_study(job)
        life = Tuning(job, self._site, self._seed + len(self.jobs))
        return self._create(request.parent, "hyperparameterTuningJobs", life)

    def get_custom_job(self, request: v1.GetCustomJobRequest) -> v1.CustomJob:
        return self._copy(request.name, v1.CustomJob)

    def get_hyperparameter_tuning_job(
        self, request: v1.GetHyperparameterTuningJobRequest
    ) -> v1.HyperparameterTuningJob:
        return self._copy(request.name, v1.HyperparameterTuningJob)

    def list_custom_jobs(self, request: v1.ListCustomJobsRequest) -> v1.ListCustomJobsResponse:
        found, token = self._list(request, v1.CustomJob)
        return v1.ListCustomJobsResponse(custom_jobs=found, next_page_token=token)

    def list_hyperparameter_tuning_jobs(
        self, request: v1.ListHyperparameterTuningJobsRequest
    ) -> v1.ListHyperparameterTuningJobsResponse:
        found, token = self._list(request, v1.HyperparameterTuningJob)
        return v1.ListHyperparameterTuningJobsResponse(hyperparameter_tuning_jobs=found, next_page_token=token)

    def cancel_custom_job(self, request: v1.CancelCustomJobRequest) -> empty_pb2.Empty:
        return self._cancel(request.name, v1.CustomJob)

    def cancel_hyperparameter_tuning_job(self, request: v1.CancelHyperparameterTuningJobRequest) -> empty_pb2.Empty:
        return self._cancel(request.name, v1.HyperparameterTuningJob)

    # What a test calls.

    def find(self, name: str, kind: type[Message] | None = None) -> Job:
        job = self.jobs.get(full_name(name, self._site.region))
        if job is None or not isinstance(job.message, kind or Message):
            raise absent(name)
        return job

    def preempt(self, name: str, trial: str, kill: bool) -> None:
        """Take away the machines of a job or trial, and wait until it has been started again."""
        with self.changed:
            job = self.find(name)
            run = self.changed.wait_for(lambda: job.runs.get(trial), 10)
            if not run or run.ending:
                raise ValueError(f"{name} has no run of trial '{trial}' to preempt")
            before = run.restarts
            job.preemptions.append(Preemption(trial, kill))
            if not self.changed.wait_for(lambda: run.restarts > before or run.ending, self._site.grace + 10):
                raise TimeoutError(f"{name} did not come back after its preemption")

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    # Creation, and looking things up.

    def _check(self, parent: str, job: Message, spec: v1.CustomJobSpec) -> None:
        full_name(parent, self._site.region)
        checks.check_job(job.display_name, dict(job.labels))
        checks.check_spec(spec, self._site.region, self._buckets, self._tensorboards)

    def _create(self, parent: str, kind: str, job: Job) -> Any:
        message = job.message
        with self.changed:
            message.name = f"{full_name(parent, self._site.region)}/{kind}/{next(self._ids)}"
            message.state = State.JOB_STATE_PENDING
            message.create_time = message.update_time = now()
            self.jobs[message.name] = job
            thread = threading.Thread(target=self._live, args=(job,), name=f"job-{job.id}")
            self._threads.append(thread)
            thread.start()
            return type(message)(message)

    def _copy(self, name: str, kind: type[Message]) -> Any:
        with self.changed:
            return kind(self.find(name, kind).message)

    def _list(self, request: Any, kind: type[Message]) -> tuple[list[Any], str]:
        full_name(request.parent, self._site.region)
        terms = filters.parse(request.filter)
        with self.changed:
            messages = [job.message for job in reversed(self.jobs.values()) if isinstance(job.message, kind)]
            found = [kind(one) for one in messages if filters.matches(terms, lambda path, one=one: _field(one, path))]
        return page(found, request.page_size, request.page_token)

    def _cancel(self, name: str, kind: type[Message]) -> empty_pb2.Empty:
        with self.changed:
            job = self.find(name, kind)
            if job.message.state in DONE:
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, f"{name} has ended already: {job.state}.")
            job.cancelled = True
            job.message.state = State.JOB_STATE_CANCELLING
        return empty_pb2.Empty()

    def _live(self, job: Job) -> None:
        """Take one step of a job's life at each tick."""
        steps = job.live()
        try:
            while not self._closing.is_set():
                with self.changed:
                    over = next(steps, "over") == "over"
                    self.changed.notify_all()
                if over:
                    return
                self._closing.wait(TICK)
        except Exception as error:
            self.crashes.append(error)
        finally:
            with self.changed:
                for run in job.runs.values():
                    run.close()
                if job.message.state not in DONE:
                    job.end(Ending("failed", f"the test server has ended, or failed: {self.crashes}"))
                self.changed.notify_all()


def _field(job: Message, path: tuple[str, ...]) -> Any:
    """The value of a field that lists are filtered by."""
    if path[0] == "labels" and len(path) == 2:
        return job.labels.get(path[1])
    if path in (("display_name",), ("create_time",), ("update_time",)):
        return getattr(job, path[0])
    if path == ("state",):
        return State(job.state)
    raise invalid(f"Jobs cannot be filtered by {'.'.join(path)}.")
