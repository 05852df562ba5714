"""A directory from which somebody launches on the local server, by calls in this process or by processes."""

import csv
import json
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest

from tests.command_line import SMALL, Result, call, start
from tests.vertex_server import VertexServer

BUCKET, REGION = "lab", "us-central1"
BUCKETS = {BUCKET: "US-CENTRAL1", "far": "EUROPE-WEST4"}
QUICK = (*SMALL, "--checkpoint-every", "20")
LONG = ("--env", "wheel", "--batch-size", "8", "--training-loops", "4000", "--steps-per-loop", "500", "--seeds", "2")


class Laptop:
    """A directory from which somebody launches."""

    def __init__(self, server: VertexServer, directory: Path):
        self.server, self.directory = server, directory
        self.first = len(server.jobs)

    def __call__(self, *args: object, **variables: object) -> Result:
        """Run `jaxbandit launch ARGS` in this process."""
        with chdir(self.directory), pytest.MonkeyPatch.context() as patch:
            for name, value in self._variables(variables).items():
                patch.setenv(name, value)
            return call("launch", *args)

    def ask(self, kind: str, *args: object, **variables: object) -> Result:
        """The same, with the flags that say where."""
        return self(kind, *self.cloud(), *args, **variables)

    def start(self, *args: object, **variables: object) -> subprocess.Popen[str]:
        """Start `jaxbandit launch ARGS` as a process."""
        return start("launch", *args, cwd=self.directory, **self._variables(variables))

    def _variables(self, variables: dict[str, object]) -> dict[str, str]:
        variables = {"NO_GCE_CHECK": "true", **self.server.variables, **variables}
        return {name: str(value) for name, value in variables.items()}

    def cloud(self) -> tuple[str, ...]:
        entries = {
            "project": self.server.project,
            "region": REGION,
            "bucket": f"gs://{BUCKET}/{self.directory.name}",
            "image": f"{REGION}-docker.pkg.dev/lab/bandits/jaxbandit:0123abc-cpu",
            "machine": "cpu-4",
            "poll": "0.2",
        }
        return tuple(f"--{name}={value}" for name, value in entries.items())

    @property
    def launch(self) -> Path:
        (directory,) = (self.directory / "launches").iterdir()
        return directory

    @property
    def jobs(self) -> list:
        return list(self.server.jobs.values())[self.first :]

    @property
    def output(self) -> Path:
        return self.server.bucket(BUCKET) / self.directory.name / self.launch.name


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_last_line(result: Result, status: int, *words: str) -> None:
    assert result.status == status, result
    for word in words:
        assert word in result.err.splitlines()[-1], result
