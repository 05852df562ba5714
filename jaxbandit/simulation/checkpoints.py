"""Checkpoints of a simulation's state, saved and restored with orbax. It decides neither when to save nor what.

Beside each checkpoint stands a digest of its files, written when they are complete. A checkpoint without a digest does
not count, and one whose digest is wrong is refused.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import PyTree

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes

KEEP = 2
SPARE = 2**18  # bytes that a checkpoint takes on disk beside its arrays, generously
DIGEST = ".sha256"


class Checkpoints:
    """The checkpoints of one run directory, numbered by rounds done; each is complete or absent."""

    def __init__(self, directory: epath.PathLike) -> None:
        """Name the directory; it is made at the first save."""
        self.directory = epath.Path(directory)

    def rounds(self) -> list[int]:
        """Rounds done at each complete checkpoint, ascending."""
        if not self.directory.exists():
            return []
        return sorted(int(path.stem) for path in self.directory.iterdir() if _is_digest(path))

    def save(self, rounds: int, state: PyTree) -> None:
        """Write `state`, a pytree of arrays, and drop all but the last two checkpoints.

        Raises:
            InputError: the directory cannot be written (no space, no permission).
        """
        path, arrays = self._path(rounds), jax.tree.map(np.asarray, state)
        try:
            _check_space(path.parent, sum(array.nbytes for array in jax.tree.leaves(arrays)))
            with _checkpointer() as checkpointer:
                checkpointer.save(path, arrays, force=True)
            write_bytes(_digest_file(path), _digest(path))
            for old in self.rounds()[:-KEEP]:
                self._drop(old)
        except (OSError, ValueError) as error:  # tensorstore reports a full disk as a ValueError
            self._drop(rounds)
            raise InputError(f"cannot write the checkpoint {path}: {_reason(error)}") from None

    def restore(self, rounds: int, like: PyTree) -> PyTree:
        """Read the checkpoint back into the structure, shapes and types of `like`.

        Raises:
            InputError: the checkpoint is damaged or of another program.
        """
        path = self._path(rounds)
        if not path.exists() or _digest(path) != _digest_file(path).read_bytes():
            raise InputError(f"checkpoint {path} is damaged or incomplete; delete {path}* to go on from an older one")
        template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        try:
            with _checkpointer() as checkpointer:
                state = checkpointer.restore(path, item=template)
        except (OSError, ValueError, KeyError, TypeError):
            raise self.foreign(rounds) from None
        same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, template, state)
        if not all(jax.tree.leaves(same)):
            raise self.foreign(rounds)
        return state

    def foreign(self, rounds: int) -> InputError:
        """Build the error for a checkpoint that this program cannot go on from."""
        return InputError(
            f"checkpoint {self._path(rounds)} belongs to another program, or to lanes that were cut into other "
            "tiles; allowed: those that wrote it"
        )

    def _drop(self, rounds: int) -> None:
        """Remove a checkpoint, finished or not; the digest first, so that what is left of it never counts."""
        path = self._path(rounds)
        with suppress(OSError):
            _digest_file(path).unlink(missing_ok=True)
            for part in self.directory.glob(f"{path.name}*"):
                part.rmtree()

    def _path(self, rounds: int) -> epath.Path:
        return _absolute(self.directory) / f"{rounds:012d}"


def _checkpointer() -> Any:  # orbax, which has no types, is imported when a state is saved
    """Make orbax's writer for this process alone: the first process saves what all have gathered in it."""
    import orbax.checkpoint as ocp

    alone = {jax.process_index()}
    options = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes=alone if jax.process_count() > 1 else None
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    # Not through a directory under another name: on a mounted bucket a directory cannot be renamed.
    whole = ocp.path.atomicity.CommitFileTemporaryPath
    return ocp.Checkpointer(handler, multiprocessing_options=options, temporary_path_class=whole)


def _check_space(directory: epath.Path, needed: int) -> None:
    """Raise OSError where a local disk is too full: orbax's threads would print tracebacks on their way to an error."""
    if "://" not in str(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(directory).free < needed + SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _absolute(directory: epath.Path) -> epath.Path:
    """Return the path that orbax wants; one of a bucket is absolute, and epath would put it below the local one."""
    return directory if "://" in str(directory) else directory.resolve()


def _is_digest(path: epath.Path) -> bool:
    return path.suffix == DIGEST and path.stem.isdigit()


def _digest_file(path: epath.Path) -> epath.Path:
    return path.parent / f"{path.name}{DIGEST}"


def _digest(path: epath.Path) -> bytes:
    """Hash the names and contents of all files below a directory."""
    hashed = hashlib.sha256()
    for file in sorted(_files(path), key=str):
        content = file.read_bytes()
        hashed.update(f"{file.relative_to(path)} {len(content)} ".encode())
        hashed.update(content)
    return hashed.hexdigest().encode()


def _files(path: epath.Path) -> Iterator[epath.Path]:
    for child in path.iterdir():
        if child.is_dir():
            yield from _files(child)
        else:
            yield child


def _reason(error: Exception) -> str:
    """Take the system's words out of an error; tensorstore wraps them in many of its own."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code.group(1))) if code else getattr(error, "strerror", None) or str(error)
