"""A launch from its first job to its results: create, wait, pick the best, train with it. It speaks to one service."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from jaxbandit import config, reporting
from jaxbandit.errors import Failure, InputError
from jaxbandit.interruption import Interrupted
from jaxbandit.vertex import requests, trials
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.command_line import Trainer
from jaxbandit.vertex.local import Local
from jaxbandit.vertex.state import Launch, kind_of

DONE = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED")
ENDED = (*DONE, "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
POLL = 30.0  # seconds between two looks at a job


@runtime_checkable
class Service(Protocol):
    """What runs jobs and keeps their files: Vertex AI, or this machine. `vertex.service.Vertex` says what each does."""

    def check_bucket(self, uri: str) -> None: ...  # noqa: D102
    def create(self, kind: str, body: Mapping[str, Any]) -> str: ...  # noqa: D102
    def get(self, name: str) -> dict[str, Any]: ...  # noqa: D102
    def find(self, kind: str, labels: Mapping[str, str]) -> str | None: ...  # noqa: D102
    def cancel(self, name: str) -> None: ...  # noqa: D102
    def tensorboard(self, name: str) -> str: ...  # noqa: D102
    def logs(self, name: str, trial: str | None = None) -> Iterator[str]: ...  # noqa: D102
    def write(self, uri: str, content: bytes) -> None: ...  # noqa: D102
    def files(self, uri: str) -> dict[str, Any]: ...  # noqa: D102
    def read(self, blob: Any) -> bytes: ...  # noqa: D102


def request(launch: Launch, stage: str, tensorboard: str = "") -> dict[str, Any]:
    """Make the exact request that creates the job of a stage."""
    cloud = launch.cloud_of(stage) or Cloud(
        project="-", machine="cpu-4", timeout="7d"
    )  # a service reads its part of it
    common: dict[str, Any] = {
        "output": launch.output(stage),
        "labels": launch.labels(stage),
        "tensorboard": tensorboard,
    }
    if stage == "hptuning" and launch.study:
        return requests.tuning_job(cloud, launch.study, launch.args, **common)
    args = launch.args
    if stage == "final":
        args = ("run", f"--config={result_uri(launch)}", *(launch.final or ()))
    return requests.custom_job(cloud, args, **common)


def result_uri(launch: Launch) -> str:
    """Where the best trial is written, and where the final training reads it."""
    return f"{launch.output('hptuning')}/result.json"


def start(launch: Launch, *, detach: bool = False, poll: float = POLL) -> Launch:
    """Carry out a launch that is new; see `go_on`.

    Raises:
        InputError: also: the bucket is in another region, or holds results under this name. Nothing is created.
    """
    with _service(launch) as service:
        if launch.cloud is not None:
            service.check_bucket(launch.cloud.bucket)
            uri = f"{launch.cloud.bucket.rstrip('/')}/{launch.name}"
            if service.files(uri):
                raise InputError(f"name is {launch.name!r}, but {uri} holds other results; allowed: another --name")
        return _carry_out(launch, service, detach, poll)


def go_on(launch: Launch, *, detach: bool = False, poll: float = POLL) -> Launch:
    """Create the jobs that there are not yet, wait for each, and leave the results in the launch's directory.

    Raises:
        InputError: the service refuses a job.
        Failure: a job failed, was cancelled, or the service does not answer.
        Interrupted: the jobs go on.
    """
    with _service(launch) as service:
        return _carry_out(launch, service, detach, poll)


def follow(launch: Launch, *, poll: float = POLL) -> None:
    """Wait for the jobs that there are; see `go_on`."""
    with _service(launch) as service:
        for stage in _created(launch):
            finish(launch, service, stage, poll)


def show_best(launch: Launch) -> dict[str, Any]:
    """Write the best trial so far into result.json; return its content.

    Raises:
        Failure: no trial has a result.
    """
    with _service(launch) as service:
        return write_best(launch, service, service.get(launch.jobs[_created(launch)[0]]))


def logs(launch: Launch, trial: str | None = None) -> Iterator[str]:
    """Lines that the jobs have printed, or one trial."""
    with _service(launch) as service:
        for stage in _created(launch)[: 1 if trial else None]:
            yield from service.logs(launch.jobs[stage], trial)


def cancel(launch: Launch) -> None:
    """Cancel the jobs that have not ended, and say so."""
    with _service(launch) as service:
        for stage in _created(launch):
            if (state := service.get(launch.jobs[stage])["state"]) in ENDED:
                reporting.say(f"{stage} has ended: {_word(state)}")
                continue
            service.cancel(launch.jobs[stage])
            reporting.say(f"{stage} is being cancelled")


def _carry_out(launch: Launch, service: Service, detach: bool, poll: float) -> Launch:
    for stage in launch.stages:
        launch = submit(launch, service, stage)
        if detach:
            reporting.say(f"{stage}: {address(launch, stage)}")
            reporting.say(f"go on with: jaxbandit launch resume {launch.directory}")
            return launch
        finish(launch, service, stage, poll)
    return launch


def _created(launch: Launch) -> list[str]:
    """Stages that have a job.

    Raises:
        InputError: none has.
    """
    if found := [stage for stage in launch.stages if launch.jobs.get(stage)]:
        return found
    where = str(launch.directory)
    raise InputError(f"{where!r} has no job that is known; allowed: `jaxbandit launch resume {where}`")


@contextmanager
def _service(launch: Launch) -> Iterator[Service]:
    """Open what runs the jobs of a launch."""
    if launch.cloud is None:
        with Local(launch.study) as service:
            yield service
    else:
        from jaxbandit.vertex.service import Vertex

        yield Vertex(launch.cloud.project, launch.cloud.region)


def submit(launch: Launch, service: Service, stage: str) -> Launch:
    """Create the job of a stage unless it exists; an answer that was lost before is looked for by the labels."""
    if launch.jobs.get(stage):
        return launch
    if stage in launch.jobs and (found := service.find(kind_of(stage), launch.labels(stage))):
        return launch.with_job(stage, found)
    cloud = launch.cloud_of(stage)
    board = service.tensorboard(cloud.tensorboard) if cloud and cloud.tensorboard else ""
    launch = launch.with_job(stage, "")
    try:
        job = service.create(kind_of(stage), request(launch, stage, board))
    except Failure as failure:
        raise Failure(
            f"{failure}; whether there is a job now, `jaxbandit launch resume {launch.directory}` finds out"
        ) from None
    except InputError:
        _forget(launch, stage)
        raise
    return launch.with_job(stage, job)


def finish(launch: Launch, service: Service, stage: str, poll: float = POLL) -> None:
    """Wait for the job of a stage, then fetch and show what it left behind.

    Raises:
        Failure: it failed or was cancelled.
    """
    name = launch.jobs[stage]
    reporting.say(f"{stage}: {address(launch, stage)}")
    with _going_on(launch):
        job = wait(service, name, poll, trials.progress(launch.study) if stage == "hptuning" else None)
    if stage == "hptuning" and launch.study:
        trials.show(launch.study, job, launch.directory)
    if job["state"] not in DONE:
        reason = job.get("error", {}).get("message", "no reason is given")
        raise Failure(
            f"{stage} has ended: {_word(job['state'])}: {reason}; its output: jaxbandit launch logs {launch.directory}"
        )
    if stage == "hptuning":
        write_best(launch, service, job)
    else:
        fetch(launch, service, stage)


def wait(
    service: Service, name: str, poll: float, watch: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Look at a job until it has ended; say when its state changes."""
    state = ""
    while True:
        job = service.get(name)
        if job["state"] != state:
            state = job["state"]
            reporting.say(f"  {time.strftime('%H:%M:%S')} {_word(state)}")
        if watch is not None:
            watch(job)
        if state in ENDED:
            return job
        time.sleep(poll)


def write_best(launch: Launch, service: Service, job: Mapping[str, Any]) -> dict[str, Any]:
    """Write the best trial into result.json, in the bucket and here; return its content.

    Raises:
        Failure: no trial has a result.
    """
    assert launch.study is not None
    best = trials.best(launch.study, job)
    flags = [f"--{name}={value}" for name, value in best["parameters"].items()]
    chosen = Trainer.read([*launch.args, *flags]).config
    content = {"study": job["name"], **best, "config": config.flag_values(chosen)}
    text = json.dumps(content, indent=2) + "\n"
    service.write(result_uri(launch), text.encode())
    reporting.write_bytes(launch.directory / "result.json", text.encode())
    reporting.say(f"best values in {result_uri(launch)}")
    return content


def fetch(launch: Launch, service: Service, stage: str) -> None:
    """Copy the results of a training or a sweep into the launch's directory, and show them."""
    directory = launch.directory / stage
    for name, blob in service.files(f"{launch.output(stage)}/model").items():
        reporting.write_bytes(directory / name, service.read(blob))
    if not (directory / "summary.json").exists():
        raise Failure(f"{stage} has ended, but {launch.output(stage)}/model has no summary.json; is it its bucket?")
    Trainer.read(launch.args if stage != "final" else ["run", f"--config={directory / 'config.json'}"]).show(directory)


def address(launch: Launch, stage: str) -> str:
    """Where a person sees the job."""
    cloud, job = launch.cloud_of(stage), launch.jobs[stage]
    if cloud is None:
        return f"in {launch.output(stage)}"
    where, number = f"locations/{cloud.region}", job.rpartition("/")[2]
    return f"https://console.cloud.google.com/agent-platform/{where}/training/{number}?project={cloud.project}"


def _word(state: str) -> str:
    return state.removeprefix("JOB_STATE_").lower().replace("_", " ")


def _forget(launch: Launch, stage: str) -> None:
    """Note that there is no job of a stage, and leave nothing of a launch that has none at all."""
    del launch.jobs[stage]
    launch.save()
    if not launch.jobs:
        (launch.directory / "launch.json").unlink()
        if not any(launch.directory.iterdir()):
            launch.directory.rmdir()


@contextmanager
def _going_on(launch: Launch) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        going = "the job goes on in the cloud; " if launch.cloud else ""
        raise Interrupted(
            f"interrupted; {going}go on with: jaxbandit launch resume {launch.directory}"
            + (f"  end it with: jaxbandit launch cancel {launch.directory}" if launch.cloud else "")
        ) from None
