"""What is known of a launch on this machine, in one file: what was asked, and which jobs it has become."""

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jaxbandit.errors import InputError
from jaxbandit.reporting import write_json
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.requests import CUSTOM, LABELS, TUNING
from jaxbandit.vertex.study import Parameter, Study

DIRECTORY = "launches"
FILE = "launch.json"
NAME = r"[a-z][a-z0-9-]{0,49}"  # a label of the job, a folder of the bucket, and part of other names


@dataclass(frozen=True)
class Launch:
    """A launch: one or two jobs one after the other, each a stage."""

    name: str
    kind: Literal["train", "hpt", "sweep"]
    args: tuple[str, ...]  # the trainer's command line
    cloud: Cloud | None  # None: this machine
    study: Study | None = None
    final: tuple[str, ...] | None = None  # flags of the training with the best values; None: there is none
    final_cloud: Cloud | None = None  # where that runs, if elsewhere
    identity: str = field(default_factory=lambda: secrets.token_hex(4))  # tells its jobs from others of the name
    jobs: dict[str, str] = field(default_factory=dict)  # stage -> job; "": asked for, no answer seen
    root: str = DIRECTORY

    @property
    def directory(self) -> Path:
        """Where its file and its results are."""
        return Path(self.root) / self.name

    @property
    def stages(self) -> list[str]:
        """Names of the jobs, in order."""
        if self.kind != "hpt":
            return [self.kind]
        return ["hptuning"] if self.final is None else ["hptuning", "final"]

    @property
    def digest(self) -> str:
        """Eight digits that depend on all that was asked."""
        asked = {
            name: value for name, value in asdict(self).items() if name not in ("name", "identity", "jobs", "root")
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]

    def cloud_of(self, stage: str) -> Cloud | None:
        """Where a stage runs."""
        return self.final_cloud or self.cloud if stage == "final" else self.cloud

    def output(self, stage: str) -> str:
        """Directory of a stage's results, in the bucket or on this machine."""
        bucket = self.cloud.bucket.rstrip("/") if self.cloud else str(self.directory.absolute())
        return f"{bucket}/{self.name}/{stage}" if self.cloud else f"{bucket}/{stage}"

    def labels(self, stage: str) -> dict[str, str]:
        """Labels by which the job of a stage is found again."""
        return dict(zip(LABELS, (self.name, self.identity, stage), strict=True))

    def with_job(self, stage: str, job: str) -> "Launch":
        """Note the job of a stage, on disk before anything else happens."""
        launch = replace(self, jobs={**self.jobs, stage: job})
        launch.save()
        return launch

    def save(self) -> None:
        """Write the file.

        Raises:
            InputError: it cannot be written.
        """
        write_json(self.directory / FILE, asdict(self) | {"digest": self.digest})


def kind_of(stage: str) -> str:
    """Which collection of Vertex AI the job of a stage is in."""
    return TUNING if stage == "hptuning" else CUSTOM


def named(launch: Launch, name: str | None) -> Launch:
    """Give a new launch its name; by default one that follows from what is asked, so that it is not paid for twice.

    Raises:
        InputError: the name is not allowed, or there is a launch of it already.
    """
    launch = replace(launch, name=name or f"{launch.kind}-{launch.digest}")
    if not re.fullmatch(NAME, launch.name) or launch.name.endswith("-"):
        raise InputError(f"name is {name!r}; allowed: up to 50 lower-case letters, digits and '-', a letter first")
    if (launch.directory / FILE).exists():
        raise InputError(
            f"{str(launch.directory)!r} holds {'this' if name is None else 'a'} launch already; "
            f"allowed: `jaxbandit launch resume {launch.directory}`, or another --name to launch once more"
        )
    return launch


def read_launch(directory: str | None, root: str = DIRECTORY) -> Launch:
    """Read the launch of a directory; by default the last one here.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if directory is None:
        files = sorted(Path(root).glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime)
        if not files:
            raise InputError(f"there is no launch in {root!r}; allowed: the directory of one")
        path = files[-1]
    else:
        path = Path(directory) / FILE
    try:
        return _launch(json.loads(path.read_text()), path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(path.parent)!r} holds no launch: {error}; allowed: the directory of one") from None


def _launch(content: dict[str, Any], path: Path) -> Launch:
    def cloud(entries: dict[str, Any] | None) -> Cloud | None:
        return Cloud(**entries) if entries else None

    study = content["study"]
    if study:
        tuned = tuple(Parameter(n, k, tuple(values), scale) for n, k, values, scale in study["parameters"])
        study = Study(**study | {"parameters": tuned})
    rest = {name: content[name] for name in ("kind", "identity")}
    return Launch(
        name=path.parent.name,
        args=tuple(content["args"]),
        cloud=cloud(content["cloud"]),
        study=study,
        final=_flags(content["final"]),
        final_cloud=cloud(content["final_cloud"]),
        jobs=content["jobs"] if content["cloud"] else {},  # no job outlives the process on this machine
        root=str(path.parent.parent),
        **rest,
    )


def _flags(flags: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if flags is None else tuple(flags)
