"""Vertex AI's JobService: custom jobs and tuning jobs, from their creation to their end."""

import datetime
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
from google.cloud import aiplatform_v1 as v1
from google.protobuf import empty_pb2
from google.rpc import status_pb2

from . import checks, filters, study
from .calls import Refusal, absent, full_name, invalid, page
from .replicas import Ending, Run, Site

TICK = 0.03  # seconds between two looks at the processes
PENDING = 0.1  # seconds that a job waits for its machines
State = v1.JobState
Trial = v1.Trial.State
DONE = (State.JOB_STATE_SUCCEEDED, State.JOB_STATE_FAILED, State.JOB_STATE_CANCELLED)
CODES = {
    "failed": grpc.StatusCode.INVALID_ARGUMENT,
    "timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
    "preempted": grpc.StatusCode.ABORTED,
    "cancelled": grpc.StatusCode.CANCELLED,
}
RUNNING = (Trial.ACTIVE, Trial.STOPPING)
Message = v1.CustomJob | v1.HyperparameterTuningJob

CANCELLED = Ending("cancelled", "The job was cancelled.")


class Preemption(NamedTuple):
    trial: str
    kill: bool


class Job:
    """A job that was created: what the service tells about it, and its runs by trial ("" for a custom job's one)."""

    def __init__(self, message: Message):
        self.message = message
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
        return sum(run.restarts for run in self.runs.values())


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
        return self._create(request.parent, "customJobs", job, self._custom_life)

    def create_hyperparameter_tuning_job(
        self, request: v1.CreateHyperparameterTuningJobRequest
    ) -> v1.HyperparameterTuningJob:
        job = v1.HyperparameterTuningJob(request.hyperparameter_tuning_job)
        self._check(request.parent, job, job.trial_job_spec)
        checks.check_study(job)
        return self._create(request.parent, "hyperparameterTuningJobs", job, self._tuning_life)

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

    def _create(self, parent: str, kind: str, message: Any, life: Callable[[Job], Iterator[None]]) -> Any:
        with self.changed:
            message.name = f"{full_name(parent, self._site.region)}/{kind}/{next(self._ids)}"
            message.state = State.JOB_STATE_PENDING
            message.create_time = message.update_time = _now()
            job = self.jobs[message.name] = Job(message)
            thread = threading.Thread(target=self._live, args=(job, life), name=f"job-{job.id}")
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

    # The lives of jobs: each is a generator that one thread takes on by one step at each tick.

    def _live(self, job: Job, life: Callable[[Job], Iterator[None]]) -> None:
        steps = life(job)
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
                    self._end(job, Ending("failed", f"the test server has ended, or failed: {self.crashes}"))
                self.changed.notify_all()

    def _get_ready(self, job: Job) -> Iterator[None]:
        start = _now()
        while (_now() - start).total_seconds() < PENDING and not job.cancelled:
            yield
        if not job.cancelled:
            job.message.state = State.JOB_STATE_RUNNING
            job.message.start_time = job.message.update_time = _now()

    def _custom_life(self, job: Job) -> Iterator[None]:
        yield from self._get_ready(job)
        if job.cancelled:
            return self._end(job, CANCELLED)
        run = job.runs[""] = Run(self._site, job.message.job_spec, job.id)
        ending = None
        while ending is None:
            yield
            self._obey(job)
            ending = run.poll()
        return self._end(job, ending)

    def _obey(self, job: Job) -> None:
        """Pass on what clients and tests have asked for since the last step."""
        if job.cancelled:
            for run in job.runs.values():
                run.leave(CANCELLED)
        for preemption in job.preemptions:
            run = job.runs[preemption.trial]
            run.leave(Ending("preempted", "The job's machines were preempted."), preemption.kill)
        job.preemptions.clear()

    def _end(self, job: Job, ending: Ending) -> None:
        message = job.message
        states = {"succeeded": State.JOB_STATE_SUCCEEDED, "cancelled": State.JOB_STATE_CANCELLED}
        message.state = states.get(ending.reason, State.JOB_STATE_FAILED)
        message.end_time = message.update_time = _now()
        if ending.reason != "succeeded":
            message.error = status_pb2.Status(code=CODES[ending.reason].value[0], message=ending.message)

    def _tuning_life(self, job: Job) -> Iterator[None]:
        yield from self._get_ready(job)
        if job.cancelled:
            return self._end(job, CANCELLED)
        offers = study.suggestions(job.message.study_spec, self._seed + len(self.jobs))
        ending, more = None, True
        while ending is None or any(trial.state in RUNNING for trial in job.message.trials):
            more = more and not ending and not job.cancelled and self._begin_trials(job, offers)
            yield
            self._obey(job)
            for trial in job.message.trials:
                if trial.state in RUNNING:
                    self._watch(job, trial)
            ending = ending or self._verdict(job, more)
            if ending and ending.reason == "failed":
                for run in job.runs.values():
                    run.leave(CANCELLED)
        return self._end(job, ending)

    def _begin_trials(self, job: Job, offers: Iterator[study.Parameters]) -> bool:
        """Start trials as far as they may run side by side; return whether more may come."""
        message = job.message
        while sum(trial.state in RUNNING for trial in message.trials) < message.parallel_trial_count:
            parameters = next(offers, None) if len(message.trials) < message.max_trial_count else None
            if parameters is None:
                return False
            number = str(len(message.trials) + 1)
            message.trials.append(v1.Trial(id=number, state=Trial.ACTIVE, parameters=parameters, start_time=_now()))
            flags = study.flags(message.study_spec, parameters)
            job.runs[number] = Run(self._site, message.trial_job_spec, job.id, number, flags)
        return True

    def _watch(self, job: Job, trial: v1.Trial) -> None:
        """Read a trial's measurements, stop it where it is hopeless, and close it once it has ended."""
        run, spec = job.runs[trial.id], job.message.study_spec
        _measure(run, trial, spec)  # what is not whole yet is read again at the end
        ending = run.poll()
        completed = [one for one in job.message.trials if one.state == Trial.SUCCEEDED]
        if ending is None and trial.state == Trial.ACTIVE and study.hopeless(spec, trial, completed):
            trial.state = Trial.STOPPING
            run.leave(Ending("stopped"))
        if ending is None:
            return
        reason = _measure(run, trial, spec)
        final = study.final_measurement(spec, list(trial.measurements))
        if ending.reason not in ("succeeded", "stopped"):
            reason = ending.message or ending.reason
        elif final is None and not reason:
            reason = "The trial has not reported all metrics of the study."
        trial.state = Trial.INFEASIBLE if reason else Trial.SUCCEEDED
        trial.infeasible_reason = reason
        if not reason:
            trial.final_measurement = final
        trial.end_time = _now()

    def _verdict(self, job: Job, more: bool) -> Ending | None:
        """How the whole job ends, as soon as that is certain."""
        trials, bound = list(job.message.trials), job.message.max_failed_trial_count
        failed = sum(trial.state == Trial.INFEASIBLE for trial in trials)
        over = not any(trial.state in RUNNING for trial in trials)
        if job.cancelled:
            return CANCELLED if over else None
        if bound and failed > bound:
            return Ending("failed", f"Too many trials failed: {failed}, with max_failed_trial_count {bound}.")
        if over and not more:
            return Ending("failed", "All trials failed.") if failed == len(trials) else Ending("succeeded")
        return None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _measure(run: Run, trial: v1.Trial, spec: v1.StudySpec) -> str:
    """Take over what a trial has reported; return why that is impossible, or nothing."""
    try:
        trial.measurements = study.read_measurements(run.metrics(), trial.id, spec, run.started)
    except (KeyError, TypeError, ValueError) as error:
        return f"The metric file cannot be read: {error!r}"
    return ""


def _field(job: Message, path: tuple[str, ...]) -> Any:
    """The value of a field that lists are filtered by."""
    if path[0] == "labels" and len(path) == 2:
        return job.labels.get(path[1])
    if path in (("display_name",), ("create_time",), ("update_time",)):
        return getattr(job, path[0])
    if path == ("state",):
        return State(job.state)
    raise invalid(f"Jobs cannot be filtered by {'.'.join(path)}.")
