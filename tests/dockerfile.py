"""A Dockerfile read, and its steps carried out as commands below a directory, since no docker engine is at hand."""

import json
import os
import re
import shlex
import shutil
import string
import subprocess
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    keyword: str
    text: str


def read(path: Path) -> list[Step]:
    """The instructions of a Dockerfile, continued lines joined, without comments."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def command(path: Path, keyword: str) -> list[str]:
    """The words of ENTRYPOINT or CMD."""
    return next(json.loads(step.text) for step in reversed(read(path)) if step.keyword == keyword)


def copies(steps: list[Step]) -> list[str]:
    """What COPY takes from the context."""
    return [source for step in steps if step.keyword == "COPY" for source in step.text.split()[:-1]]


def ignored(path: str, ignore_file: Path) -> bool:
    """Whether a .dockerignore keeps a path of the context out: the last pattern decides that meets it or a parent."""
    parts = path.split("/")
    names = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    out = False
    for line in ignore_file.read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!").strip("/"))
            pattern = pattern.replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(pattern, name) for name in names):
                out = not line.startswith("!")
    return out


class Failed(Exception):
    """A RUN step that ended with another status than 0."""

    def __init__(self, step: Step, got: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"RUN {step.text}: status {got.returncode}\n{got.stdout[-3000:]}\n{got.stderr[-3000:]}")
        self.stderr = got.stderr


class Build:
    """An image in the making: its file system is the directory `root`, its Python the virtual environment `venv`.

    Absolute paths in WORKDIR, ENV and COPY are moved below `root`. A RUN that names one is refused, as it would touch
    this machine, and so is one that needs more than a virtual environment.
    """

    def __init__(self, context: Path, root: Path, venv: Path, **arguments: str) -> None:
        self.context, self.root, self.directory, self.arguments, self.user = context, root, root, arguments, "0"
        # What this machine sets for pip and numpy stays; what steers Python, JAX or us does not.
        steers = re.compile(r"(PYTHON|PYENV|VIRTUAL_ENV|JAX|XLA|MPL|AIP_|CLOUD_ML|PATH$)")
        self.env = {name: value for name, value in os.environ.items() if not steers.match(name)}
        self.env["PATH"] = f"{venv / 'bin'}:/usr/bin:/bin"

    def at(self, path: str) -> Path:
        """Where a path of the image lies."""
        return self.root / path[1:] if path.startswith("/") else self.directory / path

    def carry_out(self, step: Step) -> None:
        """Do one step.

        Raises:
            Failed: a command of it failed.
            ValueError: there is no way to do it here.
        """
        match step.keyword:
            case "ARG":
                name, _, default = step.text.partition("=")
                self.env[name] = self.arguments.get(name, default)
            case "ENV":
                for name, value in (pair.split("=", 1) for pair in shlex.split(step.text)):
                    self.env[name] = re.sub(r"(^|:)/", rf"\1{self.root}/", value)
            case "WORKDIR":
                self.directory = self.at(step.text)
                self.directory.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = step.text.split()
                for source in sources:
                    self._copy(source, self.at(target))
            case "RUN":
                self._run(step)
            case "USER":
                self.user = string.Template(step.text).substitute(self.env)
            case "FROM" | "ENTRYPOINT" | "CMD":
                pass
            case _:
                raise ValueError(f"no way is known to carry out {step.keyword} without an engine")

    def _copy(self, source: str, target: Path) -> None:
        start, ignore_file = self.context / source, self.context / ".dockerignore"
        files = [start] if start.is_file() else sorted(path for path in start.rglob("*") if path.is_file())
        files = [path for path in files if not ignored(str(path.relative_to(self.context)), ignore_file)]
        if not files:
            raise ValueError(f"COPY {source}: it is not there, or .dockerignore keeps it out")
        for path in files:
            end = target / (path.name if path == start else path.relative_to(start))
            end.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, end)

    def _run(self, step: Step) -> None:
        if found := re.search(r"(?<![\w.$}])/\w[^ ]*|\b(apt-get|useradd|adduser)\b", step.text):
            raise ValueError(f"RUN with {found[0]} cannot be carried out on this machine: {step.text}")
        shell = ["sh", "-c", step.text]
        got = subprocess.run(
            shell, cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=500, check=False
        )
        if got.returncode:
            raise Failed(step, got)
