"""A few columns of a text, JSON lines or Parquet file by name or place, whatever they mean. It checks no content."""

import io
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from jaxbandit._core.errors import InputError, nearest
from jaxbandit.data.columns import place
from jaxbandit.data.dialect import is_number, recognise
from jaxbandit.data.json_lines import is_json, read_keys
from jaxbandit.data.parquet import guarded
from jaxbandit.data.rows import Layout, read_rows
from jaxbandit.data.streams import read_whole, without_packing
from jaxbandit.data.text import utf8_lines


class Named(NamedTuple):
    """Columns by the names that were asked for, and how errors name a row."""

    file: str
    frame: pl.DataFrame
    line: Callable[[int], int]

    def row(self, index: int) -> str:
        """Name a row as errors do."""
        return f"{self.file}, row {self.line(index)}"


def read_columns(what: str, path: str, names: Sequence[str], numeric: str) -> Named:
    """Read columns; `numeric` is the name of one that holds numbers, which tells a header from a row.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    raw = read_whole(what, path)
    file = without_packing(os.path.basename(path))
    if raw[:4] == b"PAR1":
        header = list(guarded(file, lambda: pl.read_parquet_schema(io.BytesIO(raw))))
        chosen = [header[_at(file, header, name, len(header))] for name in names]
        frame = guarded(file, lambda: pl.read_parquet(io.BytesIO(raw), columns=chosen))
        return Named(
            file, frame.select(pl.col(c).alias(n) for c, n in zip(chosen, names, strict=True)), lambda i: i + 1
        )
    text = utf8_lines(file, raw, None)
    if not text or text.isspace():
        raise InputError(f"{what} {path!r} is empty; allowed: rows of actions, rewards and propensities")
    if is_json(text):
        frame, line = read_keys(file, text, lambda keys: [keys[_at(file, keys, name, len(keys))] for name in names])
        return Named(file, frame.rename(dict(zip(frame.columns, names, strict=True))), line)
    return _read_text(file, text, names, numeric)


def _read_text(file: str, text: bytes, names: Sequence[str], numeric: str) -> Named:
    by_name = [name for name in names if place(name) is None]
    dialect = recognise(file, text, 2, lambda fields: bool(by_name) and set(by_name) <= set(fields))
    fields = dialect.first
    at = place(numeric)
    headed = bool(by_name) or at is None or not (at < len(fields) and is_number(fields[at]))
    places = tuple(_at(file, fields if headed else [], name, len(fields)) for name in names)
    rows = read_rows(text, Layout(file, dialect.separator, dialect.skip + headed, len(fields), places, places[-1:]))
    frame = rows.frame.select(pl.col(str(i)).alias(name) for i, name in zip(places, names, strict=True))
    for name in by_name:
        if (frame[name] == name).any():
            raise InputError(f"{file}: {name!r} is in row 1 and again below, so it is no name; allowed: column:N")
    return Named(file, frame, rows.line)


def _at(file: str, header: Sequence[str], name: str, width: int) -> int:
    if list(header).count(name) == 1:
        return list(header).index(name)
    at = place(name)
    if at is not None and at < width:
        return at
    near = nearest(name, header)
    hint = f"did you mean {near!r}? " if near else ""
    raise InputError(
        f"{file}: no column {name!r}: {hint}allowed: {', '.join(header[:20]) or f'column:1 to column:{width}'}"
    )
