"""What `jaxbandit launch` does: run the stages of a launch, pick the best trial, train with it, show the results.

How a stage is run, in the cloud or on this machine, is the matter of a Runner.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxbandit import reporting
from jaxbandit._core import sealed
from jaxbandit._core.errors import Failure
from jaxbandit._core.signals import Interrupted
from jaxbandit.experiments import config, run_directory, sweep
from jaxbandit.experiments.sweep_config import read_sweep_config
from jaxbandit.vertex import cloud_runner, local_runner, trials
from jaxbandit.vertex.cloud_runner import POLL, CloudRunner
from jaxbandit.vertex.local_runner import LocalRunner
from jaxbandit.vertex.runner import DONE, Runner, Status
from jaxbandit.vertex.state import Launch
from jaxbandit.vertex.study import Study
from jaxbandit.vertex.trials import Trial
from jaxbandit.vertex.wire import Json

EXPLAINED = 10  # failed trials whose last line is looked up


def start(launch: Launch, *, detach: bool = False, poll: float = POLL) -> None:
    """Carry out a launch that is new; see `go_on`.

    Raises:
        InputError: also: the bucket is in another region, or another launch has this name. Nothing is created.
    """
    with _runner(launch, poll) as runner:
        runner.begin()
        _carry_out(runner, detach=detach)


def go_on(launch: Launch, *, detach: bool = False, poll: float = POLL, partial: bool = False) -> None:
    """Run the stages that have not been run, and leave the results in the launch's directory.

    Args:
        launch: As it is known here; jobs that exist are not created again.
        detach: Do not wait for a job that is new.
        poll: Seconds between two looks at a job.
        partial: Train also with the best trial of a study that was cancelled or has failed.

    Raises:
        InputError: the service refuses a job.
        Failure: a job failed, was cancelled, or the service does not answer.
        Interrupted: the message says how to go on.
    """
    with _runner(launch, poll) as runner:
        _carry_out(runner, detach=detach, partial=partial)


def follow(launch: Launch, *, poll: float = POLL) -> None:
    """Wait for the jobs that there are; create none."""
    with _saying_how_to_go_on(launch):
        runner = cloud_runner.connected(launch, poll)
        for stage in runner.launch.jobs:
            _finish(runner, stage)


def show_best(launch: Launch) -> dict[str, Json]:
    """Write the best trial so far into result.json; return its content.

    Raises:
        Failure: no trial has a result.
    """
    if launch.cloud is None:
        return config.read_object(str(launch.directory / "result.json"))
    runner = cloud_runner.connected(launch)
    return _write_best(runner, next(runner.statuses("hptuning")))


def logs(launch: Launch, trial: str | None = None) -> Iterator[str]:
    """Lines that the trainings of a launch, or one trial, have printed."""
    return (cloud_runner if launch.cloud else local_runner).logs(launch, trial)


def _carry_out(runner: Runner, *, detach: bool = False, partial: bool = False) -> None:
    """Run one stage after the other: of `launch hpt --then-train` the study, then the training with its best values."""
    for stage in runner.launch.stages:
        is_new = runner.start(stage)
        if detach and is_new:
            _leave(runner, stage)
            return
        _finish(runner, stage, partial=partial)


def _finish(runner: Runner, stage: str, *, partial: bool = False) -> None:
    """Wait for the end of a stage; then write the best trial of a study, or show the results of a training."""
    launch = runner.launch
    reporting.say(f"{stage}: {runner.where(stage)}")
    study = launch.study if stage == "hptuning" else None
    status = _wait(runner, stage, study)
    if study:
        status = status._replace(trials=_explained(runner, stage, status.trials))
        trials.show(study, status.trials, launch.directory)
    if status.state not in DONE and not (partial and study):
        hint = f"its output: jaxbandit launch logs {launch.directory}"
        if not study and launch.cloud:
            hint += f"; go on from its checkpoints: jaxbandit launch resume {launch.directory} --again"
        last = "" if study else runner.last_line(stage)
        reason = ": ".join(text for text in (status.reason or "no reason is given", last) if text)
        raise Failure(f"{stage} has ended: {status.state}: {reason}; {hint}")
    if study:
        _write_best(runner, status)
        return
    directory = runner.fetch(stage)
    if not (directory / "summary.json").exists():
        raise Failure(f"{stage} has ended, but {launch.results(stage)} has no summary.json: were its files moved?")
    show_results(directory)


def _explained(runner: Runner, stage: str, tried: Sequence[Trial]) -> tuple[Trial, ...]:
    """Add to failed trials, or to the first of many, what each has said last."""
    failed = [trial for trial in tried if trial.state == "INFEASIBLE"][:EXPLAINED]
    last = {trial.number: runner.last_line(stage, trial.number) for trial in failed}
    return tuple(
        trial._replace(why=": ".join(text for text in (trial.why, last.get(trial.number)) if text)) for trial in tried
    )


def _wait(runner: Runner, stage: str, study: Study | None) -> Status:
    """Follow a stage to its end; say when its state, or what is known of its trials, changes."""
    last, progress = "", ""
    for status in runner.statuses(stage):
        if status.state != last:
            reporting.say(f"  {time.strftime('%H:%M:%S')} {status.state}")
        if study and (text := trials.progress(study, status.trials)) != progress:
            reporting.say(text)
            progress = text
        last = status.state
    return status


def _write_best(runner: Runner, status: Status) -> dict[str, Json]:
    """Write the best trial, and the config that it ran with, into result.json; return its content."""
    launch = runner.launch
    assert launch.study is not None
    name = launch.jobs.get("hptuning", launch.name)
    best = trials.best(launch.study, status.trials, name)
    path = f"{launch.output('hptuning')}/{best.number}/model/config.json"
    ran = sealed.read_bytes(runner.read(path), path, "allowed: the config of a trial, as it was written")
    chosen = config.checked(config.read_entries(ran))
    flags: dict[str, Json] = dict(config.flag_values(chosen))
    if chosen.fingerprints:
        flags["fingerprints"] = chosen.fingerprints  # so that the final training reads what the trial has read
    content = {"study": name, **trials.describe(launch.study, best), "config": flags}
    runner.write(launch.best, (json.dumps(content, indent=2) + "\n").encode())
    reporting.say(f"best values in {launch.best}")
    return content


def show_results(directory: Path) -> None:
    """Print the table of a training's or a sweep's results."""
    summary = run_directory.read_summary(directory / "summary.json")
    assert summary is not None, "a runner hands over finished results alone"
    chosen = config.read_object(str(directory / "config.json"), kept=True)
    if "base" in chosen:
        sweep.show(read_sweep_config(chosen), summary, str(directory))
    else:
        reporting.print_table(summary, agent=chosen["agent"], directory=str(directory))


def _leave(runner: Runner, stage: str) -> None:
    """Say where the job is that nobody waits for here."""
    reporting.say(f"{stage}: {runner.where(stage)}")
    reporting.say(f"go on with: jaxbandit launch resume {runner.launch.directory}")


@contextmanager
def _runner(launch: Launch, poll: float) -> Iterator[Runner]:
    """Open what runs the stages of a launch."""
    with _saying_how_to_go_on(launch):
        if launch.cloud is None:
            with LocalRunner(launch) as runner:
                yield runner
        else:
            yield CloudRunner(launch, poll)


@contextmanager
def _saying_how_to_go_on(launch: Launch) -> Iterator[None]:
    """Add to an interruption how the launch is gone on with, if it has begun."""
    try:
        yield
    except Interrupted:
        if not launch.exists:
            raise
        resume = f"go on with: jaxbandit launch resume {launch.directory}"
        if launch.cloud is None:
            raise Interrupted(f"interrupted; {resume}") from None
        end = f"  end it with: jaxbandit launch cancel {launch.directory}"
        raise Interrupted(f"interrupted; what was created goes on in the cloud; {resume}{end}") from None
