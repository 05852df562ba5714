"""Atomic writers of a run's files, on local disks and on gs://. Knows nothing of which files a run has."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from etils import epath

from jaxbandit.errors import InputError
from jaxbandit.metrics import Curves, mean_stderr
from jaxbandit.reporting.named_series import series


@contextlib.contextmanager
def writing(path: epath.PathLike) -> Iterator[None]:
    """Turn an OSError of the block (no space left, read-only) into the InputError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
        raise InputError(f"cannot write {os.fspath(path)!r}: {reason}") from error


def write_bytes(path: epath.PathLike, data: bytes) -> None:
    """Put `data` at `path`, wholly or not at all: a failure or a kill leaves what was there. Makes missing folders.

    Raises:
        InputError: the path cannot be written.
    """
    target = epath.Path(path)
    # A name of its own, so that two writers of one path never mix their bytes.
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                if "://" not in os.fspath(target):  # an object store has a file no sooner than it is complete
                    os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_json(path: epath.PathLike, content: Any) -> None:
    """Write `content` as strict, indented JSON.

    Raises:
        InputError: the path cannot be written.
        ValueError: there is a NaN or an infinity in it, which JSON does not have.
    """
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_metrics_csv(path: epath.PathLike, curves: Curves) -> None:
    """Write one line per row of `curves`: interactions of a lane, round, and each series' `_mean` and `_stderr`.

    The standard error is empty where it is not defined, as for one seed.

    Raises:
        InputError: the path cannot be written.
    """
    columns: dict[str, np.ndarray] = {"interactions": curves.interactions, "round": curves.edges[1:]}
    for name, values in series(curves).items():
        columns[f"{name}_mean"], columns[f"{name}_stderr"] = mean_stderr(values)
    frame = pl.DataFrame(columns).with_columns(pl.col("^.*_stderr$").fill_nan(None))
    write_bytes(path, frame.write_csv().encode())
