"""A delimited text of features and labels -> its columns as text. It finds header and label column."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from jaxbandit._core.errors import InputError, nearest
from jaxbandit.data.columns import counts, place
from jaxbandit.data.dialect import is_number, recognise
from jaxbandit.data.rows import Layout, read_rows
from jaxbandit.data.text import utf8_lines

COMMON_NAMES = ("label", "class", "target", "y")


class LabelledTable(NamedTuple):
    """All columns as text."""

    file: str
    frame: pl.DataFrame
    names: list[str]
    label: int  # place of the label
    line: Callable[[int], int]

    def row(self, index: int) -> str:
        """Name a row as errors do."""
        return f"{self.file}, row {self.line(index)}"


def read_labelled_table(file: str, raw: bytes, label_column: str | None) -> LabelledTable:
    """Read a text with or without a header.

    Raises:
        InputError: it is no table, or what is its header or its label column cannot be told.
    """
    text = utf8_lines(file, raw, None)
    named = label_column if place(label_column) is None else None

    def is_header(fields: Sequence[str]) -> bool:
        return named in fields or not {field.lower() for field in fields}.isdisjoint(COMMON_NAMES)

    dialect = recognise(file, text, 2, is_header)
    first = dialect.first
    if len(first) < 2:
        raise InputError(
            f"{file}, row {dialect.skip + 1}: one field; allowed: features and a label, separated by ',', ';', TAB, "
            "'|' or blanks"
        )
    layout = Layout(file, dialect.separator, dialect.skip + 1, len(first), tuple(range(len(first))), ())
    below = read_rows(text, layout)
    frame = below.frame.with_columns(pl.all().str.strip_chars())
    headed = _has_header(file, dialect.skip + 1, first, frame, named, is_header(first))
    names = first if headed else [f"column:{i}" for i in range(1, len(first) + 1)]
    label = _position(file, names, label_column, headed)
    if headed:
        line = below.line
    else:
        top = pl.DataFrame({name: [field] for name, field in zip(frame.columns, first, strict=True)})
        frame = pl.concat([top, frame])

        def line(index: int) -> int:
            return below.line(index - 1) if index else dialect.skip + 1

    if frame.is_empty():
        raise InputError(f"{file}: no rows; allowed: rows of at least two labels")
    return LabelledTable(file, frame, names, label, line)


def _has_header(file: str, row: int, first: list[str], below: pl.DataFrame, named: str | None, known: bool) -> bool:
    """Tell whether the first line has names: no number above numbers, and no word that is found below again.

    Raises:
        InputError: it may have names or be a row.
    """
    again = [bool((below[:, i] == field).any()) for i, field in enumerate(first)]
    if named is not None:
        if named in first and again[first.index(named)]:
            raise InputError(
                f"{file}: {named!r} is in row {row} and again below, so it is a value and no name; allowed: column:1, "
                "column:2, … in a file without a header"
            )
        if all(map(is_number, first)) and not counts(first):
            raise InputError(
                f"{file}, row {row}: {', '.join(first[:5])} are numbers, and no header; allowed: column:1, column:2, … "
                "in place of names"
            )
        return True
    numeric = [below[:, i].cast(pl.Float64, strict=False).null_count() < below.height / 2 for i in range(below.width)]
    names = [not is_number(field) for field, is_numeric in zip(first, numeric, strict=True) if is_numeric]
    doubtful = any(names) and not all(names) and not known
    if doubtful or (counts(first) and all(numeric) and below.height > 0):
        raise InputError(
            f"{file}, row {row}: {', '.join(first[:5])} may be names or a row; allowed: numbers in each row of their "
            "columns; --label-column NAME in a file with a header"
        )
    if below.height == 0:
        return not any(map(is_number, first))
    return known or (all(names) if names else not any(again))


def _position(file: str, names: list[str], label_column: str | None, headed: bool) -> int:
    at = place(label_column)
    if label_column is None:
        plain = [name.lower() for name in names]
        return next((plain.index(name) for name in COMMON_NAMES if name in plain), len(names) - 1)
    if headed and names.count(label_column) == 1:
        return names.index(label_column)
    if at is not None and at < len(names):
        return at
    near = nearest(label_column, names) if headed else None
    hint = f"did you mean {near!r}? " if near else ""
    problem = "several columns" if label_column in names else "no column"
    shown = f"{', '.join(names[:20])}; or column:N" if headed else f"column:1 to column:{len(names)}"
    raise InputError(f"{file}: {problem} {label_column!r}: {hint}allowed: {shown}")
