"""The directory of a run or a sweep: whether it is free, whose it is, and what it holds. It simulates nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import NamedTuple, cast

from etils import epath

from jaxbandit._core import locks, processes, sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted, writing
from jaxbandit._core.fitting import misfit
from jaxbandit.experiments import config as configs
from jaxbandit.experiments import interaction_log, sweep_config
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.sweep_config import SweepConfig
from jaxbandit.reporting.summary import Summary

CHECKPOINTS = "checkpoints"
LOCK = ".running.tmp"  # whoever is at work in a directory


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
    """Lay a run out in one directory, unless it is laid out already.

    Raises:
        InputError: its path is one of another scheme than gs://, or no Unicode, as checkpoints need it.
    """
    if isinstance(out, Places):
        return out
    try:
        os.path.abspath(out).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"out is {os.path.abspath(out)!r}, which is no text in UTF-8; allowed: a path that is"
        ) from None
    directory = epath.Path(mounted(out))
    return Places(directory, directory / CHECKPOINTS, directory / "tensorboard")


def check_free(config: Config | SweepConfig, places: Places, resume: bool, *, ours: bool = False) -> Summary | None:
    """Check that a directory is free for a run, or holds the one that is to be resumed.

    The summary is returned if that one has finished, None if there is something to simulate. `ours`: it is this process
    that is at work in the directory.

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
    kept = _kept(directory)
    if differs := _difference(kept, config):
        raise InputError(
            f"out is {name!r}, which belongs to another configuration ({differs}); allowed: another directory"
        )
    if not resume:
        raise InputError(f"out is {name!r}, which holds this run already; allowed: --resume, or another directory")
    if not ours and (who := locks.holder(str(directory / LOCK))):
        raise _held(directory, who)
    configs.check_data(_base(kept).fingerprints, _base(config).fingerprints)
    return read_summary(directory / "summary.json")


def _is_temporary(path: epath.Path) -> bool:
    """Whether it is the temporary file of a writer that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


@contextmanager
def claimed(config: Config | SweepConfig, places: Places, resume: bool, beside: Mapping[str, object]) -> Iterator[None]:
    """Write config.json, which says whose directory it is, and what else is to be kept; the block writes the rest.

    If the block fails before the first checkpoint, all is removed again, since nothing could be resumed.

    Raises:
        InputError: the directory cannot be written, or another process has taken it since it was checked.
    """
    existed = places.results.exists()
    with ExitStack() as lock:
        processes.by_first(lambda: _claim(config, places, resume, existed, beside, lock))
        try:
            yield
        except BaseException:
            lock.close()
            if processes.is_first() and not can_resume(places.checkpoints):
                _clear(places, keep=existed)
            raise


def _claim(
    config: Config | SweepConfig,
    places: Places,
    resume: bool,
    existed: bool,
    beside: Mapping[str, object],
    lock: ExitStack,
) -> None:
    if existed:
        check_free(config, places, resume)
    else:
        _make(places.results)
    with writing(places.results):
        lock.enter_context(locks.held(str(places.results / LOCK), partial(_refuse_held, places.results)))
    if existed:  # now that nobody else can take it
        check_free(config, places, resume, ours=True)
    try:
        sealed.write(places.results / "config.json", {**asdict(config), **beside})
    except BaseException:
        lock.close()
        if not can_resume(places.checkpoints):
            _clear(places, keep=existed)
        raise


def _held(directory: epath.Path, who: str) -> InputError:
    return InputError(
        f"out is {str(directory)!r}, in which {who} is at work; allowed: wait for its end, or another directory"
    )


def _refuse_held(directory: epath.Path, who: str) -> None:
    raise _held(directory, who)


def _kept(directory: epath.Path) -> Config | SweepConfig:
    """Read the config of a directory."""
    content = configs.read_object(str(directory / "config.json"), kept=True)
    if "base" in content:
        return sweep_config.read_sweep_config(content)
    return configs.checked(configs.read_entries(content))


def _base(config: Config | SweepConfig) -> Config:
    return config.base if isinstance(config, SweepConfig) else config


def _difference(kept: Config | SweepConfig, config: Config | SweepConfig) -> str:
    """Say how the config of a directory differs from this one; empty where it does not."""
    if isinstance(kept, SweepConfig) and isinstance(config, SweepConfig):
        return sweep_config.difference(kept, config)
    if isinstance(kept, SweepConfig) or isinstance(config, SweepConfig):
        return "a sweep and a single run"
    return configs.difference(kept, config)


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
    way_out = "delete it, and --resume to have it written anew"
    if not epath.Path(path).exists():
        return None
    content = sealed.read(path, way_out)
    if wrong := misfit(content, Summary):
        raise InputError(f"{os.fspath(path)!r} is not that of a run ({wrong}); {way_out}")
    return cast(Summary, content)


def config_file(out: str) -> str | None:
    """Path of the config of the run in a directory; None where there is none."""
    path = places(out).results / "config.json"
    return str(path) if path.exists() else None
