"""Whose output directory it is: looked at before any work, claimed when results come. It knows no simulation."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from etils import epath

from jaxbandit.checkpoint import Checkpoints
from jaxbandit.config import Config, difference, read_config
from jaxbandit.errors import InputError
from jaxbandit.reporting import write_json


def look(config: Config, directory: epath.Path, resume: bool) -> dict[str, Any] | None:
    """Return the summary of a finished run that is to be resumed, or None to go to work.

    Raises:
        InputError: the directory holds something else, or a run though none is to be resumed.
    """
    name = str(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out is {name!r}, a file; allowed: a directory, new or empty")
    if not directory.exists() or not any(directory.iterdir()):
        if resume:
            raise InputError(f"resume: {name!r} holds no run; allowed: the --out of an interrupted run")
        return None
    if not (directory / "config.json").exists():
        raise InputError(f"out is {name!r}, which holds other files; allowed: a new or empty directory")
    differs = difference(read_config(str(directory / "config.json")), config)
    if differs:
        raise InputError(f"out is {name!r}, which belongs to another configuration ({differs}); allowed: another one")
    if not resume:
        raise InputError(f"out is {name!r}, which holds this run already; allowed: --resume, or another directory")
    return _summary(directory / "summary.json")


@contextmanager
def claimed(config: Config, directory: epath.Path, resume: bool) -> Iterator[Checkpoints]:
    """Write config.json, which says whose directory it is; yield the place of its checkpoints.

    If the block fails before the first of them, all is removed again: nothing there could be resumed.

    Raises:
        InputError: the directory cannot be written, or another process has taken it since it was looked at.
    """
    look(config, directory, resume)
    existed = directory.exists()
    checkpoints = Checkpoints(directory / "checkpoints")
    if not existed:
        _make(directory)
    try:
        write_json(directory / "config.json", asdict(config))
        yield checkpoints
    except BaseException:
        if not checkpoints.rounds():
            _clear(directory, keep=existed)
        raise


def _make(directory: epath.Path) -> None:
    """Make the directory, of two processes in one of them alone."""
    try:
        directory.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise InputError(f"out is {str(directory)!r}, which another run has just taken; allowed: another one") from None
    except OSError as error:
        raise InputError(f"cannot write {str(directory)!r}: {error.strerror or error}") from None


def _clear(directory: epath.Path, keep: bool) -> None:
    with suppress(OSError):
        for part in ("tensorboard", "checkpoints"):
            if (directory / part).exists():
                (directory / part).rmtree()
        (directory / "config.json").unlink(missing_ok=True)
        if not keep:
            directory.rmdir()


def _summary(path: epath.Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise InputError(f"{str(path)!r} is no JSON; delete it to have it written anew from the checkpoints") from None


def config_file(out: str) -> str | None:
    """Path of the config of the run in a directory; None where there is none."""
    path = epath.Path(out) / "config.json"
    return str(path) if path.exists() else None
