"""The directory of a run or a sweep: whether it is free, whose it is, and what it holds. It simulates nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import NamedTuple

from etils import epath

from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted, write_json
from jaxbandit.experiments import config as configs
from jaxbandit.experiments import interaction_log, sweep_config
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.sweep_config import SweepConfig
from jaxbandit.reporting.summary import Summary

CHECKPOINTS = "checkpoints"


class Places(NamedTuple):
    """Where a run leaves its files: all in one directory, or in the three that Vertex AI names."""

    results: epath.Path
    checkpoints: epath.Path
    tensorboard: epath.Path

    @property
    def apart(self) -> bool:
        """Whether the checkpoints lie outside of the results, where `--resume --out` does not look for them."""
        return self.checkpoints != self.results / CHECKPOINTS

    def resume_hint(self, command: str) -> str:
        """Say how an interrupted `jaxbandit COMMAND` is resumed."""
        return "start the same again" if self.apart else f"jaxbandit {command} --resume --out {self.results}"


def places(out: str | Places) -> Places:
    """Lay a run out in one directory, unless it is laid out already."""
    if isinstance(out, Places):
        return out
    directory = epath.Path(mounted(out))
    return Places(directory, directory / CHECKPOINTS, directory / "tensorboard")


def check_free(config: Config | SweepConfig, places: Places, resume: bool) -> Summary | None:
    """Check that a directory is free for a run, or holds the one that is to be resumed.

    The summary is returned if that one has finished, None if there is something to simulate.

    Raises:
        InputError: the directory holds other files, another run, or this one although it is not to be resumed.
    """
    directory = places.results
    name = str(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out is {name!r}, a file; allowed: a directory, new or empty")
    if not directory.exists() or not any(path for path in directory.iterdir() if not _is_temporary(path)):
        if resume:
            raise InputError(f"resume: {name!r} holds no run; allowed: the --out of an interrupted run")
        if places.apart and places.checkpoints.exists() and any(places.checkpoints.iterdir()):
            raise InputError(
                f"checkpoints go to {str(places.checkpoints)!r}, which holds those of a run that {name!r} does not; "
                "allowed: a new or empty directory"
            )
        return None
    if not (directory / "config.json").exists():
        raise InputError(f"out is {name!r}, which holds other files; allowed: a new or empty directory")
    differs = _difference(str(directory / "config.json"), config)
    if differs:
        raise InputError(
            f"out is {name!r}, which belongs to another configuration ({differs}); allowed: another directory"
        )
    if not resume:
        raise InputError(f"out is {name!r}, which holds this run already; allowed: --resume, or another directory")
    return read_summary(directory / "summary.json")


def _is_temporary(path: epath.Path) -> bool:
    """Whether it is the temporary file of a writer that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


@contextmanager
def claimed(config: Config | SweepConfig, places: Places, resume: bool) -> Iterator[None]:
    """Write config.json, which says whose directory it is; the block then writes the rest.

    If the block fails before the first checkpoint, all is removed again, since nothing could be resumed.

    Raises:
        InputError: the directory cannot be written, or another process has taken it since it was checked.
    """
    existed = places.results.exists()
    processes.by_first(lambda: _claim(config, places, resume, existed))
    try:
        yield
    except BaseException:
        if processes.is_first() and not can_resume(places.checkpoints):
            _clear(places, keep=existed)
        raise


def _claim(config: Config | SweepConfig, places: Places, resume: bool, existed: bool) -> None:
    check_free(config, places, resume)
    if not existed:
        _make(places.results)
    try:
        write_json(places.results / "config.json", asdict(config))
    except BaseException:
        _clear(places, keep=existed)
        raise


def _difference(path: str, config: Config | SweepConfig) -> str:
    """Say how the config of a directory differs from this one; empty where it does not."""
    content = configs.read_object(path)
    if ("base" in content) != isinstance(config, SweepConfig):
        return "a sweep and a single run"
    if isinstance(config, SweepConfig):
        return sweep_config.difference(sweep_config.read_sweep_config(content), config)
    return configs.difference(configs.checked(configs.read_entries(content)), config)


def can_resume(checkpoints: epath.Path) -> bool:
    """Whether there is a complete checkpoint, or the sums of a part of a sweep that is done."""
    return any(path for pattern in ("*.sha256", "*/*.sha256", "*.npy") for path in checkpoints.glob(pattern))


def _make(directory: epath.Path) -> None:
    """Make the directory; of two processes that try, one alone succeeds."""
    try:
        directory.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise InputError(
            f"out is {str(directory)!r}, which another run has just taken; allowed: another directory"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {str(directory)!r}: {error.strerror or error}") from None


def _clear(places: Places, keep: bool) -> None:
    """Remove what a run has begun. Events outside of the results stay; the next run replaces them."""
    with suppress(OSError):
        for part in (places.results / "tensorboard", places.checkpoints, places.results / interaction_log.DIRECTORY):
            if part.exists():
                part.rmtree()
        (places.results / "config.json").unlink(missing_ok=True)
        if not keep:
            places.results.rmdir()


def read_summary(path: epath.PathLike) -> Summary | None:
    """Read summary.json; None where there is none, since the run has not finished.

    Raises:
        InputError: it is damaged.
    """
    path = epath.Path(path)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise InputError(f"{str(path)!r} is no JSON; delete it, and --resume to have it written anew") from None


def config_file(out: str) -> str | None:
    """Path of the config of the run in a directory; None where there is none."""
    path = places(out).results / "config.json"
    return str(path) if path.exists() else None
