"""The file of a launch on this machine: what was asked for, and the names of its jobs. It asks no service."""

import fcntl
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import writing
from jaxbandit._core.fitting import misfit
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.requests import CUSTOM, LABELS, TUNING
from jaxbandit.vertex.rules import checked
from jaxbandit.vertex.study import Study, restored

DIRECTORY = "launches"
FILE, LOCK = "launch.json", ".lock"
WAY_OUT = "allowed: the directory of a launch, as it was written"
TRY = "jaxbandit-try"  # label of every job of a stage but the first
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
    final_cloud: Cloud | None = None  # the cloud part of that training, if it has its own
    identity: str = field(default_factory=lambda: secrets.token_hex(4))  # the label of its jobs
    jobs: dict[str, str] = field(default_factory=dict)  # in the cloud: stage -> job; "": asked for, no answer seen
    tries: dict[str, int] = field(default_factory=dict)  # stage -> jobs of it so far, where there was more than one
    directory: Path = Path(DIRECTORY)  # where its file and its results are

    @property
    def stages(self) -> list[str]:
        """Names of the jobs, in order."""
        if self.kind != "hpt":
            return [self.kind]
        return ["hptuning"] if self.final is None else ["hptuning", "final"]

    @property
    def digest(self) -> str:
        """Eight digits that depend on all that was asked."""
        apart = ("name", "identity", "jobs", "tries", "directory")
        asked = {name: value for name, value in asdict(self).items() if name not in apart}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def home(self) -> str:
        """Directory of all results, in the bucket or on this machine."""
        return f"{self.cloud.bucket.rstrip('/')}/{self.name}" if self.cloud else str(self.directory.absolute())

    def output(self, stage: str) -> str:
        """Directory of a stage's results."""
        return f"{self.home}/{stage}"

    def results(self, stage: str) -> str:
        """Directory of the results of a training or a sweep."""
        return f"{self.output(stage)}/model"

    @property
    def best(self) -> str:
        """File with the best trial of the study, which the final training reads."""
        return f"{self.output('hptuning')}/result.json"

    def args_of(self, stage: str) -> tuple[str, ...]:
        """The trainer's command line in a stage."""
        return ("run", f"--config={self.best}", *(self.final or ())) if stage == "final" else self.args

    def cloud_of(self, stage: str) -> Cloud | None:
        """Where a stage runs."""
        return self.final_cloud or self.cloud if stage == "final" else self.cloud

    def labels(self, stage: str) -> dict[str, str]:
        """Labels by which the job of a stage is looked up."""
        labels = dict(zip(LABELS, (self.name, self.identity, stage), strict=True))
        return labels | ({TRY: str(self.tries[stage])} if stage in self.tries else {})

    def with_job(self, stage: str, job: str) -> "Launch":
        """Note the job of a stage, on disk before anything else happens."""
        launch = replace(self, jobs={**self.jobs, stage: job})
        launch.save()
        return launch

    def without_job(self, stage: str) -> "Launch":
        """Note that there is no job of a stage."""
        launch = replace(self, jobs={name: job for name, job in self.jobs.items() if name != stage})
        launch.save()
        return launch

    def again(self, stage: str, cloud: Cloud) -> "Launch":
        """Note that a stage is to have another job, on these machines."""
        launch = replace(self, final_cloud=cloud) if stage == "final" else replace(self, cloud=cloud)
        return replace(launch, tries={**self.tries, stage: self.tries.get(stage, 1) + 1}).without_job(stage)

    def with_news(self, other: "Launch") -> "Launch":
        """Take over what the same launch has been through elsewhere."""
        mine, theirs = ({s: (x.tries.get(s, 1), job) for s, job in x.jobs.items() if job} for x in (self, other))
        newer = {s: job for s, (tries, job) in theirs.items() if tries > mine.get(s, (0, ""))[0]}
        newer = {s: job for s, job in newer.items() if other.tries.get(s, 1) >= self.tries.get(s, 1)}
        if not newer or other.identity != self.identity:
            return self
        launch = replace(other, directory=self.directory, jobs={**self.jobs, **newer})
        launch.save()
        return launch

    @property
    def exists(self) -> bool:
        """Whether its file does."""
        return (self.directory / FILE).exists()

    def save(self) -> None:
        """Write the file.

        Raises:
            InputError: it cannot be written.
        """
        sealed.write(self.directory / FILE, self.content)

    def begin(self) -> None:
        """Write the file if there is none, so that of two launches of one name one is refused.

        Raises:
            InputError: there is one, or it cannot be written.
        """
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            try:
                with (self.directory / FILE).open("xb") as file:
                    file.write(self.sealed)
            except FileExistsError:
                raise _taken(self) from None

    def forget(self) -> None:
        """Remove the file, and the directory if nothing else is in it."""
        for name in (FILE, LOCK):
            (self.directory / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()

    @property
    def sealed(self) -> bytes:
        """Its file, here and in the bucket."""
        return sealed.sealed(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """What its file holds."""
        content = asdict(self)
        del content["directory"]
        return content | {"digest": self.digest}


def kind_of(stage: str) -> str:
    """Which collection of Vertex AI the job of a stage is in."""
    return TUNING if stage == "hptuning" else CUSTOM


def named(launch: Launch, name: str | None) -> Launch:
    """Give a new launch its name; by default one that follows from what is asked, so that it is not paid for twice.

    Raises:
        InputError: the name is not allowed, or there is a launch of it already.
    """
    chosen = f"{launch.kind}-{launch.digest}" if name is None else name
    if not re.fullmatch(NAME, chosen) or chosen.endswith("-"):
        raise InputError(f"name is {name!r}; allowed: up to 50 lower-case letters, digits and '-', a letter first")
    launch = replace(launch, name=chosen, directory=Path(DIRECTORY) / chosen)
    if launch.exists:
        raise _taken(launch)
    return launch


def _taken(launch: Launch) -> InputError:
    same = read_launch(str(launch.directory)).digest == launch.digest
    return InputError(
        f"{str(launch.directory)!r} holds {'this launch already' if same else 'another launch'}; "
        f"allowed: `jaxbandit launch resume {launch.directory}`, or another --name"
    )


@contextmanager
def locked(launch: Launch) -> Iterator[Launch]:
    """Yield the launch as its file has it now, while no other process on this machine changes it."""
    with (launch.directory / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield read_launch(str(launch.directory))


def read_launch(directory: str | None) -> Launch:
    """Read the launch of a directory; by default the last one here.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if directory is None:
        files = sorted(Path(DIRECTORY).glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime)
        if not files:
            raise InputError(f"there is no launch in {DIRECTORY!r}; allowed: the directory of one")
        path = files[-1]
    else:
        path = Path(directory) / FILE
    return parsed(sealed.read(path, WAY_OUT), path.parent)


def parsed(content: dict[str, Any], directory: Path) -> Launch:
    """Make a launch of what its file holds.

    Raises:
        InputError: it is none.
    """
    try:
        return _launch(content, directory)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else repr(error)
        raise InputError(f"{str(directory)!r} holds no launch ({reason}); allowed: the directory of one") from None


def _launch(content: dict[str, Any], directory: Path) -> Launch:
    def cloud(entries: dict[str, Any] | None) -> Cloud | None:
        return checked(Cloud(**entries)) if entries else None

    study, final = content["study"], content["final"]
    if wrong := misfit({**content, "study": None, "directory": directory}, Launch):
        raise ValueError(wrong)
    if study:
        if wrong := misfit({**study, "parameters": []}, Study):
            raise ValueError(f"study: {wrong}")
        study = Study(**study | {"parameters": tuple(restored(*entry) for entry in study["parameters"])})
    return Launch(
        name=content["name"],
        kind=content["kind"],
        args=tuple(content["args"]),
        cloud=cloud(content["cloud"]),
        study=study,
        final=None if final is None else tuple(final),
        final_cloud=cloud(content["final_cloud"]),
        identity=content["identity"],
        jobs=content["jobs"],
        tries=content.get("tries", {}),
        directory=directory,
    )
