"""The command line as a person uses it: within this process for speed, or as a process of its own."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import NamedTuple

from jaxbandit._core import sealed
from jaxbandit.cli import main

ROOT = Path(__file__).parents[1]
SMALL = ("--env", "wheel", "--batch-size", "8", "--training-loops", "20", "--steps-per-loop", "15", "--seeds", "2")
DiskUsage = namedtuple("DiskUsage", "total used free")  # what shutil.disk_usage returns


class Result(NamedTuple):
    status: int
    out: str
    err: str


def call(*args: object) -> Result:
    """Run `jaxbandit ARGS` in this process."""
    out, err, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main([str(arg) for arg in args])
        except SystemExit as end:
            status = end.code
    return Result(status, out.getvalue(), err.getvalue())


def start(
    *args: object, cwd: Path | None = None, program: str | None = None, **variables: object
) -> subprocess.Popen[str]:
    """Start `python -m jaxbandit ARGS`, or a Python `program`, on all cores as at home, with `variables` set."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    env |= {name: str(value) for name, value in variables.items()}
    command = [sys.executable, *(("-c", program) if program else ("-m", "jaxbandit")), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd)


def shell(*args: object, cwd: Path | None = None) -> Result:
    """Run `python -m jaxbandit ARGS` to its end."""
    return end(start(*args, cwd=cwd))


def end(process: subprocess.Popen[str], seconds: float = 200) -> Result:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=seconds)
    return Result(process.returncode, out, err)


def assert_refused(result: Result, *words: str) -> None:
    """Status 2, and on stderr one line that holds `words`, beside phases and progress."""
    lines = [x for x in result.err.splitlines() if not x.startswith(("building", "compiling", "simulating"))]
    assert result.status == 2, result
    assert len(lines) == 1, result.err
    assert lines[0].startswith("jaxbandit: error: ")
    assert not result.out
    for word in words:
        assert word in lines[0], (word, lines[0])


def hashes(directory: Path) -> dict[str, str]:
    """Digest of every file below a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def reseal(path: Path, **changes: object) -> None:
    """Change entries of a file of ours as if it had been written so."""
    content = json.loads(path.read_text())
    sealed.write(path, {name: value for name, value in (content | changes).items() if name != sealed.DIGEST})


def write_ratings(path: Path, users: int = 12, items: int = 8) -> Path:
    """Write a small CSV in which each user has rated five items."""
    rows = [f"{u},{(u + 2 * j) % items},{1 + (u * j) % 5}" for u in range(users) for j in range(min(5, items // 2 + 1))]
    unique = {tuple(row.split(",")[:2]): row for row in rows}
    path.write_text("\n".join(["user,item,rating", *unique.values()]) + "\n")
    return path
