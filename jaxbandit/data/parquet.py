"""A Parquet file -> a table. Polars reads it; what it cannot make sense of is refused."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeVar

import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.columns import find
from jaxbandit.data.tables import Reading, Table

Made = TypeVar("Made")


def read_parquet(file: str, raw: bytes, reading: Reading) -> Table:
    """Read the columns of the roles.

    Raises:
        InputError: the file is cut short or corrupt, or a column is of a type that is no id or rating.
    """
    roles = reading.roles
    header = tuple(guarded(file, lambda: pl.read_parquet_schema(io.BytesIO(raw))))
    places = find(file, header, len(header), reading.columns, roles)
    names = [header[at] for at in places]
    frame = guarded(file, lambda: pl.read_parquet(io.BytesIO(raw), columns=names))
    columns = [_plain(file, role, frame[name]).alias(role) for name, role in zip(names, roles, strict=True)]
    return Table(file, pl.DataFrame(columns), header, lambda index: (file, index + 1))


def guarded(file: str, read: Callable[[], Made]) -> Made:
    """Let Polars read, and raise an InputError where the file is damaged.

    Raises:
        InputError: it is.
    """
    try:
        with _quiet():
            return read()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, MemoryError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:100]
        raise InputError(f"{file}: truncated or corrupt Parquet ({reason}): allowed: a complete file") from error


def _plain(file: str, role: str, column: pl.Series) -> pl.Series:
    kind = column.dtype
    if kind == pl.Binary:  # text of writers that do not say so
        with contextlib.suppress(pl.exceptions.PolarsError):
            return column.cast(pl.String)
    if kind.is_nested() or kind.is_temporal() or kind in (pl.Object, pl.Binary):
        raise InputError(
            f"{file}: {column.name!r} (the {role} column) is of type {column.dtype}: allowed: text or numbers"
        )
    if kind.is_decimal() or kind in (pl.Int128, pl.Boolean, pl.Categorical, pl.Enum, pl.Null) or kind == pl.UInt64:
        return column.cast(pl.String)
    return column


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Rust writes to stderr when it panics: the error says it in one line."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as elsewhere:
            os.dup2(elsewhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
