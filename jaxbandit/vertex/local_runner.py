"""The stages of a launch as processes of this machine, under the environment of a container. No cloud, no SDK."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from itertools import islice, product
from pathlib import Path

from jaxbandit._core.files import write_bytes
from jaxbandit.experiments import search_space
from jaxbandit.vertex.runner import Status
from jaxbandit.vertex.state import Launch
from jaxbandit.vertex.study import Study, Value
from jaxbandit.vertex.trainer import TRIAL, metric_file
from jaxbandit.vertex.trials import Trial

PATIENCE = 30.0  # seconds in which an interrupted training saves its state
PLACES = {"AIP_MODEL_DIR": "model", "AIP_CHECKPOINT_DIR": "checkpoints", "AIP_TENSORBOARD_LOG_DIR": "logs"}


class LocalRunner:
    """Runs the stages of one launch as processes, which end with it.

    A stage that is started again goes on where its trainings stopped: their directories are where they were.
    """

    def __init__(self, launch: Launch) -> None:
        """Name the launch; nothing is started."""
        self.launch = launch
        self._trials: dict[str, Trial] = {}
        self._failures: list[Future[str]] = []  # one for each training; "" where it has not failed
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped, self._lock = False, threading.Lock()

    def __enter__(self) -> "LocalRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """End what still runs; each training saves its state first."""
        with self._lock:
            self._stopped = True
            running = list(self._processes)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        wait(self._failures)

    def begin(self) -> None:
        """Take the launch's name.

        Raises:
            InputError: there is such a launch.
        """
        self.launch.begin()

    def start(self, stage: str) -> bool:
        """Let threads run the trials of a study, or the one training of another stage."""
        study = self.launch.study if stage == "hptuning" else None
        pool = ThreadPoolExecutor(study.parallel if study else 1)
        points = suggestions(study) if study else []
        self._trials = {str(i): Trial(str(i), "REQUESTED", point, None) for i, point in enumerate(points, start=1)}
        if study:
            self._failures = [pool.submit(self._try, study, stage, number) for number in self._trials]
        else:
            self._failures = [pool.submit(self._train, stage)]
        pool.shutdown(wait=False)  # it takes no more, and its threads end with the trainings
        return True

    def statuses(self, stage: str) -> Iterator[Status]:
        """Yield a status at the beginning, whenever a training has ended, and at the end."""
        yield Status("running", self._tried)
        reasons = []
        try:
            for training in as_completed(self._failures):
                reasons += [training.result()] if training.result() else []
                yield Status("running", self._tried)
        except OSError as error:  # no process could be started, or no directory made
            yield Status("failed", self._tried, f"{type(error).__name__}: {error}")
            return
        study = self.launch.study if stage == "hptuning" else None
        if len(reasons) < (study.most_failed if study else 1):
            yield Status("succeeded", self._tried)
        elif study:
            first = next(trial.why for trial in self._tried if trial.why)
            yield Status("failed", self._tried, f"{len(reasons)} trials have failed, the first one: {first}")
        else:
            yield Status("failed", reason=reasons[0])

    def where(self, stage: str) -> str:
        """Directory of the stage."""
        return f"in {self.launch.output(stage)}"

    def last_line(self, stage: str, trial: str | None = None) -> str:
        """Nothing: the reason of a failure has it."""
        return ""

    def read(self, path: str) -> bytes:
        """Read a file of a stage."""
        return Path(path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        """Write a file where a later stage reads it, and a copy of it into the launch's directory."""
        for target in (Path(path), self.launch.directory / Path(path).name):
            write_bytes(target, content)

    def fetch(self, stage: str) -> Path:
        """Directory of the results, which are on this machine."""
        return Path(self.launch.results(stage))

    @property
    def _tried(self) -> tuple[Trial, ...]:
        return tuple(self._trials.values())

    def _try(self, study: Study, stage: str, number: str) -> str:
        """Run one trial unless too many have failed, and note the metric that it reports; return why it has failed."""
        failed = sum(trial.state == "INFEASIBLE" for trial in self._tried)
        if self._stopped or failed >= study.most_failed:
            return ""
        trial = self._trials[number] = self._trials[number]._replace(state="ACTIVE")
        output = Path(self.launch.output(stage)) / number
        reports = output / "metrics.jsonl"
        flags = [f"--{name}={value}" for name, value in trial.parameters.items()]
        own = {metric_file.NAME: study.metric, TRIAL: number, metric_file.FILE: str(reports)}
        why = self._run([*self.launch.args, *flags], output, own)
        value = None if why else _last_value(reports, study.metric)
        why = why or ("no metric" if value is None else "")
        state = "INFEASIBLE" if why else "SUCCEEDED"
        self._trials[number] = trial._replace(state=state, value=value, why=why)
        return why

    def _train(self, stage: str) -> str:
        """Run the one training of a stage; return why it has failed."""
        return self._run(self.launch.args_of(stage), Path(self.launch.output(stage)), {})

    def _run(self, args: Sequence[str], output: Path, own: Mapping[str, str]) -> str:
        """Run a training in a process, under the contract of Vertex AI; return why it has failed.

        The process has a session of its own: Ctrl-C reaches this process, which asks each training once to save its
        state.
        """
        output.mkdir(parents=True, exist_ok=True)
        env = os.environ | {name: str(output / part) for name, part in PLACES.items()} | dict(own)
        command = [sys.executable, "-m", "jaxbandit", *args]
        with (output / "log.txt").open("ab") as log:
            with self._lock:
                if self._stopped:
                    return "interrupted"
                process = subprocess.Popen(
                    command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
                self._processes.add(process)
            status = process.wait()
            self._processes.discard(process)
        return f"exit status {status}: {_last_line(output / 'log.txt')}" if status else ""


def suggestions(study: Study) -> list[dict[str, Value]]:
    """Points of a study: the whole grid, up to its number of trials, or evenly spread (Sobol) or random ones."""
    names = [parameter.name for parameter in study.parameters]
    if study.algorithm == "grid":
        points = product(*(parameter.space.members for parameter in study.parameters))
        return [dict(zip(names, point, strict=True)) for point in islice(points, study.trials)]
    sampler = "random" if study.algorithm == "random" else "sobol"
    drawn = search_space.points(len(names), study.trials, sampler, seed=0)
    return [{p.name: p.space.at(u) for p, u in zip(study.parameters, point, strict=True)} for point in drawn]


def logs(launch: Launch, trial: str | None = None) -> Iterator[str]:
    """Lines that the trainings of a launch, or one trial, have printed."""
    for path in sorted(launch.directory.glob(f"*/{trial}/log.txt" if trial else "**/log.txt")):
        yield from path.read_text(errors="replace").splitlines()


def _last_value(reports: Path, metric: str) -> float | None:
    lines = reports.read_text().splitlines() if reports.exists() else []
    values = [json.loads(line).get(metric) for line in lines]
    return next((float(value) for value in reversed(values) if value is not None), None)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
