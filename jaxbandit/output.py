"""Whose output directory it is: looked at before any work, claimed when results come. It knows no simulation."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from etils import epath

from jaxbandit import config as configs
from jaxbandit import interactions, plan, processes
from jaxbandit.config import Config
from jaxbandit.errors import InputError
from jaxbandit.plan import Plan
from jaxbandit.reporting import write_json

CHECKPOINTS = "checkpoints"


def look(config: Config | Plan, directory: epath.Path, resume: bool) -> dict[str, Any] | None:
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
    differs = _difference(str(directory / "config.json"), config)
    if differs:
        raise InputError(f"out is {name!r}, which belongs to another configuration ({differs}); allowed: another one")
    if not resume:
        raise InputError(f"out is {name!r}, which holds this run already; allowed: --resume, or another directory")
    return _summary(directory / "summary.json")


@contextmanager
def claimed(config: Config | Plan, directory: epath.Path, resume: bool) -> Iterator[None]:
    """Write config.json, which says whose directory it is, and keep it that way within the block.

    If the block fails before the first checkpoint, all is removed again: nothing there could be resumed.

    Raises:
        InputError: the directory cannot be written, or another process has taken it since it was looked at.
    """
    existed = directory.exists()
    processes.by_first(lambda: _claim(config, directory, resume, existed))
    try:
        yield
    except BaseException:
        if processes.is_first() and not can_resume(directory / CHECKPOINTS):
            _clear(directory, keep=existed)
        raise


def _claim(config: Config | Plan, directory: epath.Path, resume: bool, existed: bool) -> None:
    look(config, directory, resume)
    if not existed:
        _make(directory)
    try:
        write_json(directory / "config.json", asdict(config))
    except BaseException:
        _clear(directory, keep=existed)
        raise


def _difference(path: str, config: Config | Plan) -> str:
    """Say how the config of a directory differs from this one; empty where it does not."""
    content = configs.read_object(path)
    if ("base" in content) != isinstance(config, Plan):
        return "a sweep and a single run"
    if isinstance(config, Plan):
        return plan.difference(plan.read_plan(content), config)
    return configs.difference(configs.checked(configs.read_entries(content)), config)


def can_resume(checkpoints: epath.Path) -> bool:
    """Whether a checkpoint is complete, or a part of a sweep is done."""
    return any(path for pattern in ("*.sha256", "*/*.sha256", "*.npy") for path in checkpoints.glob(pattern))


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
        for part in ("tensorboard", CHECKPOINTS, interactions.DIRECTORY):
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
