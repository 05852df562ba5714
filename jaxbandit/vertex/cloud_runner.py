"""The stages of a launch as jobs of Vertex AI: created once, looked up, waited for. No training runs here."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxbandit import reporting
from jaxbandit._core import sealed
from jaxbandit._core.errors import Failure, InputError
from jaxbandit._core.files import write_bytes
from jaxbandit.experiments.ranges import Values
from jaxbandit.vertex import data_sets, requests, state, trials
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.cloud_file import changed
from jaxbandit.vertex.runner import DONE, ENDED, Status
from jaxbandit.vertex.service import Vertex
from jaxbandit.vertex.state import Launch, kind_of
from jaxbandit.vertex.wire import JobJson, Json

POLL = 30.0  # seconds between two looks at a job


class CloudRunner:
    """Runs the stages of one launch on Vertex AI. A job goes on when this process ends."""

    def __init__(self, launch: Launch, poll: float = POLL) -> None:
        """Connect with the services of the launch's project; looks at a job are `poll` seconds apart.

        Raises:
            InputError: the SDK or credentials are missing.
        """
        assert launch.cloud is not None
        self.launch = launch
        self.service = Vertex(launch.cloud.project, launch.cloud.region)
        self._cloud, self._poll = launch.cloud, poll
        self._claim = f"{launch.home}/{state.FILE}"  # an object of the bucket that one launch alone can create
        self._is_new = False  # without a job so far

    def begin(self) -> None:
        """Take the launch's name, here and in the bucket, until its first job is refused.

        Raises:
            InputError: the bucket is in another region, or another launch has this name.
        """
        self.service.check_bucket(self._cloud.bucket)
        launch = self.launch
        launch.begin()
        try:
            if self.service.files(launch.home) or not self.service.claim(self._claim, self.launch.sealed):
                raise InputError(
                    f"name is {launch.name!r}, but {launch.home} is that of another launch; allowed: another --name"
                )
        except BaseException:
            launch.forget()
            raise
        self._is_new = True

    def start(self, stage: str) -> bool:
        """Create the job of a stage unless this launch knows it; return whether that is news.

        Where the answer to an earlier request was lost, the job is looked up by its labels first.

        Raises:
            InputError: the job is refused.
            Failure: there is no answer.
        """
        with state.locked(self.launch) as launch:
            self.launch = launch = launch if self._is_new else launch.with_news(self._elsewhere(launch))
            if launch.jobs.get(stage):
                return False
            asked_before = stage in launch.jobs or not self.service.claim(self._turn(stage), b"")
            job = self.service.find(kind_of(stage), launch.labels(stage)) if asked_before else None
            if asked_before and not job and stage not in launch.jobs:
                raise Failure(
                    f"another machine asks for the job of {stage}; in a minute: jaxbandit launch resume "
                    f"{launch.directory}, after `gcloud storage rm {self._turn(stage)}` if that machine has given up"
                )
            self.launch = launch.with_job(stage, job or self._create(stage))
            self._is_new = False
            self._tell()
        return True

    def _turn(self, stage: str) -> str:
        """An object of the bucket that one machine alone can create: that which asks for this job of a stage."""
        return f"{self.launch.home}/.jobs/{stage}-{self.launch.tries.get(stage, 1)}"

    def _words(self, stage: str) -> list[str]:
        """What a stage says to the trainer, with all values of a study."""
        parameters = self.launch.study.parameters if self.launch.study else ()
        members = [value for one in parameters if isinstance(one.space, Values) for value in one.space.members]
        return [*self.launch.args_of(stage), *(self.launch.args if stage == "final" else ()), *map(str, members)]

    def _elsewhere(self, launch: Launch) -> Launch:
        """The same launch as the bucket has it, where another machine may have gone on with it."""
        try:
            content = sealed.read_bytes(self.service.read(self._claim), self._claim, state.WAY_OUT, always=True)
            return state.parsed(content, launch.directory)
        except InputError:
            return launch

    def _tell(self) -> None:
        """Leave in the bucket what is known here; that this fails is no reason to end."""
        try:
            self.service.write(self._claim, self.launch.sealed)
        except (InputError, Failure) as error:
            reporting.say(f"warning: other machines do not learn of the job: {error}")

    def _create(self, stage: str) -> str:
        """Create a job. That it was asked for is noted first, since the answer may be lost."""
        cloud = _cloud_of(self.launch, stage)
        board = self.service.tensorboard(cloud.tensorboard) if cloud.tensorboard else ""
        asked = self.launch.with_job(stage, "")
        try:
            data_sets.bring(data_sets.named(self._words(stage)), self.service, cloud.bucket)
            return self.service.create(kind_of(stage), request(asked, stage, board))
        except Failure as failure:
            hint = f"`jaxbandit launch resume {asked.directory}` finds out"
            raise Failure(f"{failure}; whether there is a job now, {hint}") from None
        except InputError:
            asked.without_job(stage)
            with suppress(InputError):  # it may not be there
                self.service.delete(self._turn(stage))
            if self._is_new:
                self.service.delete(self._claim)
                self.launch.forget()
            raise

    def statuses(self, stage: str) -> Iterator[Status]:
        """Look at the job of a stage until it has ended.

        Raises:
            Failure: the service does not answer, or no longer lets us ask. The job goes on.
        """
        while True:
            try:
                status = self._status(self.service.get(self.launch.jobs[stage]))
            except (InputError, Failure) as error:  # the job was accepted, so what is wrong now is no input
                hint = f"jaxbandit launch resume {self.launch.directory}"
                raise Failure(f"{error}; the job goes on: {hint}") from None
            yield status
            if status.state in ENDED:
                return
            time.sleep(self._poll)

    def _status(self, job: JobJson) -> Status:
        study = self.launch.study
        tried = trials.read(study, job) if study else []
        return Status(_word(job["state"]), tuple(tried), job.get("error", {}).get("message", ""))

    def where(self, stage: str) -> str:
        """Address of the job in the console."""
        cloud, number = _cloud_of(self.launch, stage), self.launch.jobs[stage].rpartition("/")[2]
        jobs = f"https://console.cloud.google.com/agent-platform/locations/{cloud.region}/training"
        return f"{jobs}/{number}?project={cloud.project}"

    def last_line(self, stage: str, trial: str | None = None) -> str:
        """What the containers of a job, or of one trial, have said last; empty where that is not known."""
        try:
            return self.service.last_line(self.launch.jobs[stage], trial)
        except (InputError, Failure):
            return ""

    def read(self, path: str) -> bytes:
        """Read an object of the bucket."""
        return self.service.read(path)

    def write(self, path: str, content: bytes) -> None:
        """Write an object of the bucket, and a copy of it into the launch's directory."""
        self.service.write(path, content)
        write_bytes(self.launch.directory / path.rpartition("/")[2], content)

    def fetch(self, stage: str) -> Path:
        """Copy the results of a training or a sweep from the bucket into the launch's directory."""
        directory = self.launch.directory / stage
        for name, uri in self.service.files(self.launch.results(stage)).items():
            write_bytes(directory / name, self.service.read(uri))
        return directory

    def look_up(self) -> None:
        """Look up jobs whose names are not known since an answer was lost; leave out stages without a job.

        Raises:
            InputError: there is no job at all.
        """
        with state.locked(self.launch) as launch:
            for stage in [stage for stage, job in launch.jobs.items() if not job]:
                job = self.service.find(kind_of(stage), launch.labels(stage))
                launch = launch.with_job(stage, job) if job else launch
        known = {stage: job for stage, job in launch.jobs.items() if job}
        for stage in launch.jobs.keys() - known:
            reporting.say(f"{stage} was asked for, but there is no such job")
        if not known:
            hint = f"`jaxbandit launch resume {launch.directory}` creates it"
            raise InputError(f"{str(launch.directory)!r} has no job; allowed: {hint}")
        self.launch = replace(launch, jobs=known)


def connected(launch: Launch, poll: float = POLL) -> CloudRunner:
    """Find the jobs of a launch that there are. Creates none.

    Raises:
        InputError: there is no job, or the launch is on this machine.
    """
    if launch.cloud is None:
        raise InputError(
            f"{str(launch.directory)!r} is a launch on this machine, which ends with its command; "
            f"allowed: `jaxbandit launch resume {launch.directory}`"
        )
    runner = CloudRunner(launch, poll)
    runner.look_up()
    return runner


def again(launch: Launch, changes: Mapping[str, Any]) -> Launch:
    """Let the last stage, whose job has failed or was ended, have another job, which goes on from its checkpoints.

    Raises:
        InputError: there is no such job, it is a study, or a change of the machines is not allowed.
    """
    runner = connected(launch)
    states = {stage: _word(runner.service.get(job)["state"]) for stage, job in runner.launch.jobs.items()}
    stage, now = list(states.items())[-1]
    if now in DONE or now not in ENDED:
        hint = f"`jaxbandit launch resume {launch.directory}` alone"
        raise InputError(f"again is given, but {stage} is: {now}; allowed: {hint}")
    if stage == "hptuning":
        raise InputError(
            "again is given for a study, whose trials would begin anew; allowed: another --name, or "
            f"`jaxbandit launch best {launch.directory} --then-train` with the best trial so far"
        )
    with state.locked(launch) as launch:
        return launch.again(stage, changed(_cloud_of(launch, stage), changes))


def logs(launch: Launch, trial: str | None = None) -> Iterator[str]:
    """Lines that the containers of a launch, or of one trial, have printed; times are UTC."""
    runner = connected(launch)
    for stage in ["hptuning"] if trial else runner.launch.jobs:
        yield from runner.service.logs(runner.launch.jobs[stage], trial)


def cancel(launch: Launch) -> None:
    """Cancel the jobs that have not ended, and say so."""
    runner = connected(launch)
    for stage, job in runner.launch.jobs.items():
        if (now := _word(runner.service.get(job)["state"])) in ENDED:
            reporting.say(f"{stage} has ended: {now}")
            continue
        runner.service.cancel(job)
        reporting.say(f"{stage} is being cancelled")


def request(launch: Launch, stage: str, tensorboard: str = "") -> dict[str, Json]:
    """Make the exact request that creates the job of a stage."""
    cloud, args = _cloud_of(launch, stage), launch.args_of(stage)
    output, labels = launch.output(stage), launch.labels(stage)
    if stage == "hptuning" and launch.study:
        return requests.tuning_job(cloud, launch.study, args, output=output, labels=labels, tensorboard=tensorboard)
    return requests.custom_job(cloud, args, output=output, labels=labels, tensorboard=tensorboard)


def _cloud_of(launch: Launch, stage: str) -> Cloud:
    cloud = launch.cloud_of(stage)
    assert cloud is not None
    return cloud


def _word(job_state: str) -> str:
    return job_state.removeprefix("JOB_STATE_").lower().replace("_", " ")
