"""The rows of a text -> a frame of some of its columns, as text. It knows no roles and changes no field.

Polars parses. It takes every quote for one that encloses, so that a stray one swallows rows: where quotes are not those
of RFC 4180, lines are split here, and the number of rows always has to be that of the lines.
"""

import contextlib
import io
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.dialect import BLANKS, is_number, split
from jaxbandit.data.quotes import Lines, Ragged, lines_of, without_quotes
from jaxbandit.data.text import places_of

RUNS = re.compile(rb'"[^"\n]*"|[ \t]+')
UNITS = "\x1f\x1e\x1d\x1c"  # separators of ASCII, which no text should hold


class Rows(NamedTuple):
    """Columns by their places in the file, as text, and the line of the file, from 1, of a row."""

    frame: pl.DataFrame
    line: Callable[[int], int]


class NotText(Exception):
    """A row, from 0, has bytes in a wanted column that are no UTF-8."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class Layout(NamedTuple):
    """What is known before the rows are read."""

    file: str
    separator: str
    skip: int  # lines above the first row
    width: int  # fields of each row
    places: tuple[int, ...]  # of the columns that are wanted
    numbers: tuple[int, ...]  # places of those that hold numbers


def read_rows(raw: bytes, layout: Layout) -> Rows:
    """Read the columns.

    Raises:
        InputError: naming the row, where it has another number of fields or bytes that are no UTF-8.
    """
    start = _start(raw, layout.skip)
    if raw[start : start + 1000].isspace() or start == len(raw):
        raw, start = raw[start:].strip(b"\r\n"), 0
    if not raw:
        return Rows(pl.DataFrame(schema={str(i): pl.String for i in layout.places}), lambda i: i)
    if layout.separator == BLANKS or len(layout.separator) > 1:
        layout, raw = _one_byte(layout, raw[start:])
        start = 0
    if b'"' not in raw and b"\n#" not in raw:  # most files, and the largest: read without another copy
        num_rows = raw.count(b"\n", start) + (not raw.endswith(b"\n"))
        with contextlib.suppress(NotText, pl.exceptions.PolarsError):
            frame = _by_polars(memoryview(raw)[start:], layout, num_rows, quote=None)
            if _is_full(frame):
                return Rows(frame, _numbered(layout, None, None))
    body = raw[start:].rstrip(b"\r\n")
    body, kept = _without_empty_lines(body, layout)
    try:
        frame, row_lines = _parse(body, layout)
    except (Ragged, NotText, pl.exceptions.PolarsError) as error:
        raise _refusal(body, layout, kept, error) from error
    return Rows(frame, _numbered(layout, row_lines, kept))


def _start(raw: bytes, skip: int) -> int:
    """Find where the line after `skip` lines begins."""
    at = 0
    for _ in range(skip):
        at = raw.find(b"\n", at) + 1
        if at == 0:
            return len(raw)
    return at


def _one_byte(layout: Layout, body: bytes) -> tuple[Layout, bytes]:
    """Put one byte in place of '::' and of runs of blanks."""
    if layout.separator == BLANKS and b'"' in body:  # runs within quotes stay
        body = RUNS.sub(lambda run: run[0] if run[0].startswith(b'"') else b" ", body)
        body = body.replace(b"\n ", b"\n").replace(b" \n", b"\n").replace(b" \r\n", b"\n").strip(b" ")
    elif layout.separator == BLANKS:
        body = body.replace(b"\t", b" ")
        while b"  " in body:
            body = body.replace(b"  ", b" ")
        body = body.replace(b"\n ", b"\n").replace(b" \n", b"\n").replace(b" \r\n", b"\n").strip(b" ")
    if len(layout.separator.encode()) == 1:
        return layout, body
    unit = _unit(layout.file, body)
    return layout._replace(separator=unit), body.replace(layout.separator.encode(), unit.encode())


def _unit(file: str, body: bytes) -> str:
    unit = next((unit for unit in UNITS if unit.encode() not in body), None)
    if unit is None:
        raise InputError(f"{file}: binary content: allowed: a table")
    return unit


def _parse(body: bytes, layout: Layout) -> tuple[pl.DataFrame, np.ndarray | None]:
    """Return the wanted columns, and where rows span lines the line, from 0, of each row."""
    if b'"' not in body:
        return _by_polars(body, layout, body.count(b"\n") + 1, quote=None), None
    lines = lines_of(body, layout.separator)
    if not lines.proper:
        unit = _unit(layout.file, body)
        body = without_quotes(body, lines, layout.separator, unit, layout.width)
        return _by_polars(body, layout._replace(separator=unit), len(lines.ends), quote=None), None
    starts = np.flatnonzero(~lines.inside)
    for number in np.flatnonzero(lines.inside).tolist():
        _refuse_swallowed(body, lines, number, layout)
    return _by_polars(body, layout, len(starts), quote='"'), None if len(starts) == len(lines.ends) else starts


def _by_polars(body: bytes | memoryview, layout: Layout, num_rows: int, quote: str | None) -> pl.DataFrame:
    # Polars counts the fields of the first row, so that one is made up.
    padded = b"".join([layout.separator.encode() * (layout.width - 1), b"\n", body])
    schema = {str(i): pl.String for i in range(layout.width)}

    def parse(encoding: str) -> pl.DataFrame:
        return pl.read_csv(
            io.BytesIO(padded), has_header=False, separator=layout.separator, schema=schema,
            columns=sorted(layout.places), quote_char=quote, encoding=encoding,
        )[1:]  # fmt: skip

    try:
        frame = parse("utf8")
    except pl.exceptions.PolarsError:
        if _is_utf8(padded):
            raise
        frame = parse("utf8-lossy")  # the wanted columns may be sound
        for column in frame:
            if (altered := column.str.contains("\ufffd", literal=True).fill_null(False)).any():
                raise NotText(int(altered.arg_true()[0])) from None
    if len(frame) != num_rows:
        raise pl.exceptions.ComputeError(f"{len(frame)} rows in {num_rows} lines")
    return frame.select(str(i) for i in layout.places)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_full(frame: pl.DataFrame) -> bool:
    return not any(column.null_count() for column in frame)


def _refuse_swallowed(body: bytes, lines: Lines, number: int, layout: Layout) -> None:
    """Refuse a line within quotes that reads like a row: one quote may be missing, and rows be lost."""
    fields = split(lines.line(body, number).decode("utf-8", "replace"), layout.separator)
    if len(fields) == layout.width and all(map(is_number, [fields[i] for i in layout.numbers])):
        first = int(np.flatnonzero(~lines.inside[: number + 1])[-1])
        raise InputError(
            f"{layout.file}, row {first + layout.skip + 1}: a quote opens here, and row {number + layout.skip + 1}, "
            "which reads like a row, lies within: allowed: quotes that close in their row"
        )


def _without_empty_lines(body: bytes, layout: Layout) -> tuple[bytes, np.ndarray]:
    """Drop lines that are blank or comments; return the others, and their numbers from 0."""
    lines = lines_of(body, layout.separator)
    view = np.frombuffer(body, np.uint8)
    starts = np.append(0, lines.ends[:-1] + 1)
    first = view[np.minimum(starts, len(view) - 1)]
    doubtful = (lines.ends == starts) | np.isin(first, list(b"# \t\r"))
    dropped = np.zeros(len(starts), bool)
    all_signed = body.startswith(b"#")  # of ids that begin so
    for number in np.flatnonzero(doubtful & ~lines.inside).tolist():
        line = lines.line(body, number).decode("utf-8", "replace")
        dropped[number] = not line.strip() or (
            line.startswith("#") and not all_signed and _is_comment(line, number, layout)
        )
    kept = np.flatnonzero(~dropped)
    if len(kept) == len(starts):
        return body, kept
    pieces, done = [], 0
    for number in np.flatnonzero(dropped).tolist():
        pieces.append(body[done : starts[number]])
        done = int(lines.ends[number]) + 1
    return b"".join([*pieces, body[done:]]).rstrip(b"\r\n"), kept


def _is_comment(line: str, number: int, layout: Layout) -> bool:
    if len(split(line, layout.separator)) != layout.width:
        return True
    raise InputError(
        f"{layout.file}, row {number + layout.skip + 1}: begins with # and reads like a row: allowed: delete it, "
        "or put its first field in quotes"
    )


def _numbered(layout: Layout, row_lines: np.ndarray | None, kept: np.ndarray | None) -> Callable[[int], int]:
    def line(row: int) -> int:
        number = row if row_lines is None else int(row_lines[row])
        return (number if kept is None else int(kept[number])) + layout.skip + 1

    return line


def _refusal(body: bytes, layout: Layout, kept: np.ndarray, error: Exception) -> InputError:
    """Name the row that has too many fields, or too few beside a stray quote."""
    width, number, fields = layout.width, -1, 0
    if isinstance(error, NotText):
        starts = np.flatnonzero(~lines_of(body, layout.separator).inside)
        row = int(kept[starts[error.row]]) + layout.skip + 1
        return InputError(
            f"{layout.file}, row {row}: bytes that are no UTF-8: allowed: UTF-8 (of ratings also --encoding latin-1, …)"
        )
    if isinstance(error, Ragged):
        number, fields = error.line, error.fields
    else:
        lines = lines_of(body, layout.separator)
        commas = places_of(body, layout.separator.encode())
        counts = np.bincount(np.searchsorted(lines.ends, commas), minlength=len(lines.ends))
        for candidate in np.flatnonzero(counts >= width).tolist():
            fields = len(split(lines.line(body, candidate).decode("utf-8", "replace"), layout.separator))
            if fields > width:
                number = candidate
                break
    if number < 0:
        reason = " ".join(str(error).split())[:100]
        return InputError(f"{layout.file}: not a table ({reason}): allowed: UTF-8 text, the same fields in each row")
    row = int(kept[number]) + layout.skip + 1
    words = f"more fields than in row 1: allowed: {width}" if fields > width else f"{fields} fields: allowed: {width}"
    return InputError(f"{layout.file}, row {row}: {words}")
