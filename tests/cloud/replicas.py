"""A replica of a job: a process that stands for a container on a machine of its own. It knows no jobs."""

import datetime
import os
import signal
import subprocess
from pathlib import Path
from typing import IO, NamedTuple

from .image import Image

METRIC_FILE = Path("hypertune", "output.metrics")
# Reads "+ PID" and "- PID" of started and ended process groups; when the tests end, by whatever, it ends what is left.
_GUARD = """
all=" "
while read -r sign pid; do
  case $sign in
    +) all="$all$pid " ;;
    -) all="${all%% $pid *} ${all#* $pid }" ;;
  esac
done
for pid in $all; do kill -s KILL -- "-$pid" 2>/dev/null; done
"""


class Line(NamedTuple):
    """One line that a replica wrote."""

    time: datetime.datetime
    job: str
    trial: str
    task: str  # workerpool0-0
    stream: str  # stdout or stderr
    text: str


class Guard:
    """Ends the children of this process if it cannot do so itself."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, start_new_session=True)

    def tell(self, sign: str, pid: int) -> None:
        self._shell.stdin.write(f"{sign} {pid}\n".encode())
        self._shell.stdin.flush()

    def close(self) -> None:
        self._shell.stdin.close()
        self._shell.wait(10)


class Site(NamedTuple):
    """Where jobs run."""

    directory: Path
    mount: Path
    cache: Path
    image: Image
    connection: dict[str, str]  # so that a trainer reaches this server
    region: str
    grace: float  # seconds between SIGTERM and SIGKILL
    guard: Guard
    lines: list[Line]


class Replica:
    """A process that stands for a container on a machine of its own."""

    def __init__(self, site: Site, task: str, command: list[str], variables: dict[str, str], home: Path):
        self._site = site
        work = home / "work"
        work.mkdir(parents=True)
        self._files = [(home / name).open("wb") for name in ("stdout", "stderr")]
        self._read: list[IO[str]] = [(home / name).open(errors="replace") for name in ("stdout", "stderr")]
        self._parts = ["", ""]
        self.task = task
        out, err = self._files
        options = {"cwd": work, "env": variables | {"HOME": str(home)}, "start_new_session": True}
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options)
        site.guard.tell("+", self._process.pid)

    def ended(self) -> int | None:
        """Exit code, or None while the process runs. What it has started itself ends with it, as in a container."""
        if self._process.returncode is None:
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT  # its id is nobody else's until it has been waited for
            if os.waitid(os.P_PID, self._process.pid, options) is not None:
                self._kill_group()
                self._process.wait()
                self._site.guard.tell("-", self._process.pid)
        return self._process.returncode

    def _kill_group(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)

    def terminate(self) -> None:
        if self.ended() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once, and wait for its end."""
        if self.ended() is None:
            self._kill_group()
            self._process.wait()
            self._site.guard.tell("-", self._process.pid)

    def new_lines(self) -> list[tuple[str, str]]:
        """What was written since the last call, as (stream, line); after the end, also a line that has none."""
        found = []
        for index, (stream, file) in enumerate(zip(("stdout", "stderr"), self._read, strict=True)):
            *lines, rest = (self._parts[index] + file.read()).split("\n")
            if self._process.returncode is not None and rest:
                lines, rest = [*lines, rest], ""
            self._parts[index] = rest
            found += [(stream, line) for line in lines]
        return found

    def close(self) -> None:
        for file in (*self._files, *self._read):
            file.close()
