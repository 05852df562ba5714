"""A launch from its first job to its results: create, wait, pick the best, train with it. It speaks to one service."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxbandit import reporting
from jaxbandit._core.errors import Failure, InputError
from jaxbandit._core.files import write_bytes
from jaxbandit._core.signals import Interrupted
from jaxbandit.experiments import config
from jaxbandit.vertex import requests, state, trials
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.command_line import Trainer
from jaxbandit.vertex.local import Local
from jaxbandit.vertex.state import Launch, kind_of

DONE = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED")
ENDED = (*DONE, "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
POLL, LOCAL_POLL = 30.0, 1.0  # seconds between two looks at a job
HERE = Cloud(project="-", machine="cpu-4", timeout="7d")  # for requests to this machine, which reads no cloud part


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
    def claim(self, uri: str, content: bytes) -> bool: ...  # noqa: D102
    def write(self, uri: str, content: bytes) -> None: ...  # noqa: D102
    def delete(self, uri: str) -> None: ...  # noqa: D102
    def files(self, uri: str) -> dict[str, Any]: ...  # noqa: D102
    def read(self, blob: Any) -> bytes: ...  # noqa: D102


def request(launch: Launch, stage: str, tensorboard: str = "") -> dict[str, Any]:
    """Make the exact request that creates the job of a stage."""
    cloud = launch.cloud_of(stage) or HERE
    common: dict[str, Any] = {
        "output": launch.output(stage),
        "labels": launch.labels(stage),
        "tensorboard": tensorboard,
    }
    if stage == "hptuning" and launch.study:
        return requests.tuning_job(cloud, launch.study, launch.args, **common)
    args = launch.args
    if stage == "final":
        beside = Trainer.read(launch.args).beside  # result.json has the rest
        args = ("run", f"--config={result_uri(launch)}", *beside, *(launch.final or ()))
    return requests.custom_job(cloud, args, **common)


def result_uri(launch: Launch) -> str:
    """Where the best trial is written, and where the final training reads it."""
    return f"{launch.output('hptuning')}/result.json"


def start(launch: Launch, *, detach: bool = False, poll: float = POLL) -> Launch:
    """Carry out a launch that is new; see `go_on`.

    Raises:
        InputError: also: the bucket is in another region, or another launch has this name. Nothing is created.
    """
    with _service(launch) as service:
        if launch.cloud is not None:
            service.check_bucket(launch.cloud.bucket)
        launch.begin()
        try:
            _claim(launch, service)
        except BaseException:
            launch.forget()
            raise
        try:
            with _going_on(launch):
                launch = submit(launch, service, launch.stages[0])
        except InputError:  # the job was refused
            service.delete(_claim_uri(launch))
            launch.forget()
            raise
        if detach:
            return _leave(launch, launch.stages[0])
        return _carry_out(launch, service, poll)


def go_on(launch: Launch, *, detach: bool = False, poll: float = POLL, partial: bool = False) -> Launch:
    """Create the jobs that there are not yet, wait for each, and leave the results in the launch's directory.

    `partial`: the best trial of a study that was cancelled, or has failed, will do.

    Raises:
        InputError: the service refuses a job.
        Failure: a job failed, was cancelled, or the service does not answer.
        Interrupted: the jobs go on.
    """
    with _service(launch) as service:
        return _carry_out(launch, service, poll, detach=detach, partial=partial)


def follow(launch: Launch, *, poll: float = POLL) -> None:
    """Wait for the jobs that there are; see `go_on`."""
    with _service(launch) as service, _going_on(launch):
        launch = _known(launch, service)
        for stage in launch.jobs:
            _finish(launch, service, stage, poll)


def show_best(launch: Launch) -> dict[str, Any]:
    """Write the best trial so far into result.json; return its content.

    Raises:
        Failure: no trial has a result.
    """
    if launch.cloud is None:
        return config.read_object(str(launch.directory / "result.json"))
    with _service(launch) as service:
        launch = _known(launch, service)
        return _write_best(launch, service, service.get(launch.jobs["hptuning"]))


def logs(launch: Launch, trial: str | None = None) -> Iterator[str]:
    """Lines that the jobs have printed, or one trial; times are UTC."""
    if launch.cloud is None:
        for path in sorted(launch.directory.glob(f"*/{trial}/log.txt" if trial else "**/log.txt")):
            yield from path.read_text(errors="replace").splitlines()
        return
    with _service(launch) as service:
        launch = _known(launch, service)
        for stage in ["hptuning"] if trial else launch.jobs:
            yield from service.logs(launch.jobs[stage], trial)


def cancel(launch: Launch) -> None:
    """Cancel the jobs that have not ended, and say so."""
    with _service(launch) as service:
        launch = _known(launch, service)
        for stage, job in launch.jobs.items():
            if (now := service.get(job)["state"]) in ENDED:
                reporting.say(f"{stage} has ended: {_word(now)}")
                continue
            service.cancel(job)
            reporting.say(f"{stage} is being cancelled")


def submit(launch: Launch, service: Service, stage: str) -> Launch:
    """Create the job of a stage unless it exists; an answer that was lost before is looked for by the labels."""
    with state.locked(launch) as now:
        if now.jobs.get(stage):
            return now
        if stage in now.jobs and (found := service.find(kind_of(stage), now.labels(stage))):
            return now.with_job(stage, found)
        cloud = now.cloud_of(stage)
        board = service.tensorboard(cloud.tensorboard) if cloud and cloud.tensorboard else ""
        asked = now.with_job(stage, "")
        try:
            job = service.create(kind_of(stage), request(asked, stage, board))
        except Failure as failure:
            way = f"`jaxbandit launch resume {now.directory}` finds out"
            raise Failure(f"{failure}; whether there is a job now, {way}") from None
        except InputError:
            asked.without_job(stage)
            raise
        return asked.with_job(stage, job)


def wait(
    service: Service, name: str, poll: float, watch: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Look at a job until it has ended; say when its state changes."""
    last = ""
    while True:
        job = service.get(name)
        if job["state"] != last:
            last = job["state"]
            reporting.say(f"  {time.strftime('%H:%M:%S')} {_word(last)}")
        if watch is not None:
            watch(job)
        if last in ENDED:
            return job
        time.sleep(poll)


def address(launch: Launch, stage: str) -> str:
    """Where a person sees the job."""
    cloud, job = launch.cloud_of(stage), launch.jobs[stage]
    if cloud is None:
        return f"in {launch.output(stage)}"
    where, number = f"locations/{cloud.region}", job.rpartition("/")[2]
    return f"https://console.cloud.google.com/agent-platform/{where}/training/{number}?project={cloud.project}"


def _carry_out(launch: Launch, service: Service, poll: float, *, detach: bool = False, partial: bool = False) -> Launch:
    """`detach`: do not wait for a job that is new."""
    with _going_on(launch):
        for stage in launch.stages:
            is_new = not launch.jobs.get(stage)
            launch = submit(launch, service, stage)
            if detach and is_new:
                return _leave(launch, stage)
            _finish(launch, service, stage, poll, partial)
    return launch


def _leave(launch: Launch, stage: str) -> Launch:
    """Say where the job is that nobody waits for here."""
    reporting.say(f"{stage}: {address(launch, stage)}")
    reporting.say(f"go on with: jaxbandit launch resume {launch.directory}")
    return launch


def _finish(launch: Launch, service: Service, stage: str, poll: float, partial: bool = False) -> None:
    """Wait for the job of a stage, then fetch and show what it left behind."""
    reporting.say(f"{stage}: {address(launch, stage)}")
    study = launch.study if stage == "hptuning" else None
    try:
        watch = trials.progress(study) if study else None
        job = wait(service, launch.jobs[stage], poll if launch.cloud else LOCAL_POLL, watch)
    except (InputError, Failure) as error:  # it was accepted, so what is wrong now is no input
        raise Failure(f"{error}; the job goes on: jaxbandit launch resume {launch.directory}") from None
    if study:
        trials.show(study, job, launch.directory)
    if job["state"] not in DONE and not (partial and study):
        reason = job.get("error", {}).get("message", "no reason is given")
        hint = f"its output: jaxbandit launch logs {launch.directory}"
        raise Failure(f"{stage} has ended: {_word(job['state'])}: {reason}; {hint}")
    if study:
        _write_best(launch, service, job)
    else:
        _fetch(launch, service, stage)


def _write_best(launch: Launch, service: Service, job: Mapping[str, Any]) -> dict[str, Any]:
    """Write the best trial into result.json, in the bucket and here; return its content."""
    assert launch.study is not None
    best = trials.best(launch.study, job)
    flags = [f"--{name}={value}" for name, value in best["parameters"].items()]
    chosen = Trainer.read([*launch.args, *flags]).config
    content = {"study": job["name"], **best, "config": config.flag_values(chosen)}
    text = json.dumps(content, indent=2) + "\n"
    service.write(result_uri(launch), text.encode())
    write_bytes(launch.directory / "result.json", text.encode())
    reporting.say(f"best values in {result_uri(launch)}")
    return content


def _fetch(launch: Launch, service: Service, stage: str) -> None:
    """Copy the results of a training or a sweep from the bucket into the launch's directory, and show them."""
    source = f"{launch.output(stage)}/model"
    directory = launch.directory / stage if launch.cloud else Path(source)
    if launch.cloud:
        for name, blob in service.files(source).items():
            write_bytes(directory / name, service.read(blob))
    if not (directory / "summary.json").exists():
        raise Failure(f"{stage} has ended, but {source} has no summary.json: were its files moved?")
    Trainer.read(launch.args if stage != "final" else ["run", f"--config={directory / 'config.json'}"]).show(directory)


def _known(launch: Launch, service: Service) -> Launch:
    """Look for jobs whose names were never heard, and leave out what there is not.

    Raises:
        InputError: there is no job at all, or it is on this machine.
    """
    if launch.cloud is None:
        way = f"`jaxbandit launch resume {launch.directory}`"
        raise InputError(
            f"{str(launch.directory)!r} is a launch on this machine, which ends with its command; allowed: {way}"
        )
    with state.locked(launch) as now:
        for stage in [stage for stage, job in now.jobs.items() if not job]:
            found = service.find(kind_of(stage), now.labels(stage))
            now = now.with_job(stage, found) if found else now
    known = {stage: job for stage, job in now.jobs.items() if job}
    for stage in now.jobs.keys() - known:
        reporting.say(f"{stage} was asked for, but there is no such job")
    if not known:
        way = f"`jaxbandit launch resume {launch.directory}` creates it"
        raise InputError(f"{str(launch.directory)!r} has no job; allowed: {way}")
    return replace(now, jobs=known)


def _claim_uri(launch: Launch) -> str:
    return f"{launch.home}/{state.FILE}"


def _claim(launch: Launch, service: Service) -> None:
    """Take the launch's folder of the bucket, which nobody else may have.

    Raises:
        InputError: somebody has.
    """
    if launch.cloud is None:
        return
    if service.files(launch.home) or not service.claim(
        _claim_uri(launch), json.dumps({"id": launch.identity}).encode()
    ):
        raise InputError(
            f"name is {launch.name!r}, but {launch.home} is that of another launch; allowed: another --name"
        )


@contextmanager
def _service(launch: Launch) -> Iterator[Service]:
    """Open what runs the jobs of a launch."""
    if launch.cloud is None:
        with Local(launch.study) as service:
            yield service
    else:
        from jaxbandit.vertex.service import Vertex

        yield Vertex(launch.cloud.project, launch.cloud.region)


@contextmanager
def _going_on(launch: Launch) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        going = "what was created goes on in the cloud; " if launch.cloud else ""
        end = f"  end it with: jaxbandit launch cancel {launch.directory}" if launch.cloud else ""
        way = f"go on with: jaxbandit launch resume {launch.directory}"
        raise Interrupted(f"interrupted; {going}{way}{end}") from None


def _word(job_state: str) -> str:
    return job_state.removeprefix("JOB_STATE_").lower().replace("_", " ")
