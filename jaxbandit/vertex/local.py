"""The launcher's service on this machine: trainings are processes, the bucket is a directory. No cloud, no SDK."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from jaxbandit._core.errors import InputError
from jaxbandit.experiments import search_space
from jaxbandit.vertex.study import Study
from jaxbandit.vertex.trainer import metric_file

PATIENCE = 30.0  # seconds in which an interrupted training saves its state


class Local:
    """Runs jobs as `vertex.service.Vertex` does, within this process, and forgets them with it.

    A job that is created again goes on where its trainings stopped: their directories are where they were.
    """

    def __init__(self, study: Study | None) -> None:
        """Name the study of tuning jobs."""
        self._study = study
        self._jobs: dict[str, dict[str, Any]] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *error: object) -> None:
        """End what still runs; each training saves its state first."""
        self._stopped.set()
        for process in list(self._processes):
            process.terminate()
        for thread in self._threads:
            thread.join(PATIENCE)
        for process in list(self._processes):
            process.kill()

    def check_bucket(self, uri: str) -> None:
        """There is none."""

    def tensorboard(self, name: str) -> str:
        """There is none that is managed."""
        raise InputError(f"tensorboard is {name!r} on this machine; allowed: none")

    def create(self, kind: str, body: Mapping[str, Any]) -> str:
        """Begin a job."""
        name = f"local/{kind}/{len(self._jobs)}"
        job: dict[str, Any] = {"name": name, "state": "JOB_STATE_RUNNING"}
        self._jobs[name] = job
        work = self._tune if "studySpec" in body else self._train
        self._threads.append(threading.Thread(target=_guarded, args=(work, job, body)))
        self._threads[-1].start()
        return name

    def get(self, name: str) -> dict[str, Any]:
        """Read a job."""
        return json.loads(json.dumps(self._jobs[name]))

    def find(self, kind: str, labels: Mapping[str, str]) -> str | None:
        """No job outlives this process, so there is none to be found."""
        return None

    def cancel(self, name: str) -> None:
        """End all jobs."""
        self.__exit__()

    def logs(self, name: str, trial: str | None = None) -> Iterator[str]:
        """What was printed lies beside the results."""
        raise InputError(f"{name} is on this machine; allowed: log.txt beside its results")

    def claim(self, uri: str, content: bytes) -> bool:
        """Nobody else writes here."""
        return True

    def delete(self, uri: str) -> None:
        """Nothing was claimed."""

    def write(self, uri: str, content: bytes) -> None:
        """Write a file."""
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        Path(uri).write_bytes(content)

    def files(self, uri: str) -> dict[str, Any]:
        """Files below a directory by their paths in it."""
        root = Path(uri)
        return {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}

    def read(self, blob: Any) -> bytes:
        """Read one of `files`."""
        return blob.read_bytes()

    def _train(self, job: dict[str, Any], body: Mapping[str, Any]) -> None:
        status, output = self._run(body["jobSpec"], [], None)
        if status:
            job["error"] = {"message": f"exit status {status}: {_last_line(output)}"}
        job["state"] = "JOB_STATE_FAILED" if status else "JOB_STATE_SUCCEEDED"

    def _tune(self, job: dict[str, Any], body: Mapping[str, Any]) -> None:
        assert self._study is not None
        study, points = self._study, suggestions(self._study)
        job["trials"] = [
            {"id": str(i), "state": "REQUESTED", "parameters": [{"parameterId": n, "value": v} for n, v in p.items()]}
            for i, p in enumerate(points, start=1)
        ]

        def failed() -> int:
            return sum(trial["state"] == "INFEASIBLE" for trial in job["trials"])

        def attempt(trial: dict[str, Any]) -> None:
            if not self._stopped.is_set() and failed() < study.most_failed:
                self._attempt(study, trial, body)

        with ThreadPoolExecutor(study.parallel) as pool:
            list(pool.map(attempt, job["trials"]))
        ended = failed() >= study.most_failed
        if ended:
            why = next(trial["infeasibleReason"] for trial in job["trials"] if trial["state"] == "INFEASIBLE")
            job["error"] = {"message": f"{failed()} trials have failed, the first one: {why}"}
        job["state"] = "JOB_STATE_FAILED" if ended else "JOB_STATE_SUCCEEDED"

    def _attempt(self, study: Study, trial: dict[str, Any], body: Mapping[str, Any]) -> None:
        """Run one trial, and note the metric that it reports."""
        trial["state"] = "ACTIVE"
        flags = [f"--{p['parameterId']}={p['value']}" for p in trial["parameters"]]
        status, output = self._run(body["trialJobSpec"], flags, trial["id"])
        path = output / "metrics.jsonl"
        reports = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        value = next((float(r[study.metric]) for r in reversed(reports) if study.metric in r), None)
        if status or value is None:
            trial["infeasibleReason"] = f"exit status {status}: {_last_line(output)}" if status else "no metric"
            trial["state"] = "INFEASIBLE"
            return
        trial["finalMeasurement"] = {"metrics": [{"metricId": study.metric, "value": value}]}
        trial["state"] = "SUCCEEDED"

    def _run(self, spec: Mapping[str, Any], flags: list[str], trial: str | None) -> tuple[int, Path]:
        """Run a training in a process, under the contract of Vertex AI; return its status and its directory."""
        (pool,) = spec["workerPoolSpecs"]
        container, output = pool["containerSpec"], Path(spec["baseOutputDirectory"]["outputUriPrefix"])
        output = output / trial if trial else output
        output.mkdir(parents=True, exist_ok=True)
        env = os.environ | {
            entry["name"]: entry["value"] for entry in container["env"] if entry["name"] != "JAX_PLATFORMS"
        }
        for name, part in {"MODEL": "model", "CHECKPOINT": "checkpoints", "TENSORBOARD_LOG": "logs"}.items():
            env[f"AIP_{name}_DIR"] = str(output / part)
        if trial:
            env |= {metric_file.TRIAL: trial, metric_file.FILE: str(output / "metrics.jsonl")}
        command = [sys.executable, "-m", "jaxbandit", *container["args"], *flags]
        with (output / "log.txt").open("ab") as log:
            # in a session of its own: Ctrl-C reaches this process, which asks each training once to save its state
            process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            self._processes.add(process)
            status = process.wait()
            self._processes.discard(process)
        return status, output


def suggestions(study: Study) -> list[dict[str, Any]]:
    """Points of a study: the whole grid, up to its number of trials, or evenly spread (Sobol) or random ones."""
    names = [parameter.name for parameter in study.parameters]
    if study.algorithm == "grid":
        axes = (range(p.values[0], p.values[1] + 1) if p.kind == "int" else p.values for p in study.parameters)
        points = (dict(zip(names, point, strict=True)) for point in product(*axes))
        return [study.typed(point) for point, _ in zip(points, range(study.trials), strict=False)]
    sampler = "random" if study.algorithm == "random" else "sobol"
    drawn = search_space.points(len(names), study.trials, sampler, seed=0)
    return [{p.name: p.at(u) for p, u in zip(study.parameters, point, strict=True)} for point in drawn]


def _guarded(work: Callable[[dict[str, Any], Mapping[str, Any]], None], job: dict[str, Any], body: Any) -> None:
    """Let a job fail with the message of what went wrong, so that nobody waits for it."""
    try:
        work(job, body)
    except Exception as error:
        job |= {"error": {"message": f"{type(error).__name__}: {error}"}, "state": "JOB_STATE_FAILED"}


def _last_line(output: Path) -> str:
    lines = [line for line in (output / "log.txt").read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
