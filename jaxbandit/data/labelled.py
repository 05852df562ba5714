"""Rows of numbers with a label each, from scikit-learn or a CSV. It scales no features and knows no rewards."""

import io
from typing import NamedTuple

import numpy as np
import polars as pl
from etils import epath

from jaxbandit._core.errors import InputError, nearest
from jaxbandit._core.files import mounted
from jaxbandit.data.dialect import is_number
from jaxbandit.data.dialect import split as split_fields

SHIPPED = {"digits": "load_digits", "breast-cancer": "load_breast_cancer", "wine": "load_wine"}
ALLOWED = f"{' | '.join(SHIPPED)}, or the path of a CSV"
COMMON_NAMES = ("label", "class", "target", "y")


class Labelled(NamedTuple):
    """R rows of d features. Labels are re-indexed in sorted order."""

    features: np.ndarray  # [R, d] float32
    label: np.ndarray  # [R] int32
    num_labels: int


def load_labelled(name_or_path: str, label_column: str | None = None) -> Labelled:
    """Load a data set of scikit-learn, or read a CSV with or without a header. A known name wins over a path.

    The labels, numbers or words, are in the column of that name; by default in that called label, class, target or y,
    else in the last.

    Raises:
        InputError: scikit-learn is not installed, or the file is refused, with the row named where it is one row's
            fault.
    """
    if name_or_path not in SHIPPED:
        return _read(name_or_path, label_column)
    if label_column is not None:
        raise InputError(f"label_column is {label_column!r}, but {name_or_path} has known labels; allowed: with a path")
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError(
            f"data is {name_or_path!r}, which is part of scikit-learn, and that is not installed; "
            "allowed: pip install 'jaxbandit[sklearn]', or the path of a CSV"
        ) from None
    features, label = getattr(datasets, SHIPPED[name_or_path])(return_X_y=True)
    return Labelled(np.asarray(features, np.float32), np.asarray(label, np.int32), len(np.unique(label)))


def _read(path: str, label_column: str | None) -> Labelled:
    try:
        raw = epath.Path(mounted(path)).expanduser().read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip()
    except OSError as error:
        raise InputError(f"data {path!r} cannot be read ({error.strerror or error}); allowed: {ALLOWED}") from None
    if not raw or b"\0" in raw[:4096]:
        raise InputError(f"data {path!r} is {'binary' if raw else 'empty'}; allowed: {ALLOWED}")
    first = raw[: raw.find(b"\n")] if b"\n" in raw else raw
    line = first.decode("utf-8", "replace").rstrip("\r")
    separator = max(",;\t|", key=line.count)
    fields = split_fields(line, separator)
    has_header = label_column is not None or not any(map(is_number, fields))
    frame = _parse(path, raw, separator, len(fields), has_header)
    names = fields if has_header else [f"column {i}" for i in range(1, len(fields) + 1)]
    position = _position(path, names, label_column)
    columns = [_numbers(path, name, frame[:, i], has_header) for i, name in enumerate(names) if i != position]
    label = _labels(path, names[position], frame[:, position], has_header)
    return Labelled(np.column_stack(columns), label, int(label.max()) + 1)


def _parse(path: str, raw: bytes, separator: str, width: int, has_header: bool) -> pl.DataFrame:
    if width < 2:
        raise InputError(f"{path}, row 1: one field; allowed: features and a label, separated by ',', ';', TAB or '|'")
    schema = {f"field {i}": pl.String for i in range(width)}
    try:
        frame = pl.read_csv(
            io.BytesIO(raw),
            has_header=False,
            skip_rows=int(has_header),
            separator=separator,
            schema=schema,
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError as error:
        lines = raw.decode("utf-8", "replace").splitlines()
        long = next((i for i, line in enumerate(lines, 1) if len(split_fields(line, separator)) > width), None)
        where = f", row {long}: more fields than in row 1" if long else f": not a table ({error})"
        raise InputError(f"{path}{where}; allowed: {width} fields in each row") from None
    if frame.is_empty():
        raise InputError(f"{path}: no rows; allowed: rows of at least two labels")
    return frame.with_columns(pl.all().str.strip_chars())


def _position(path: str, names: list[str], label_column: str | None) -> int:
    if label_column is None:
        plain = [name.lower() for name in names]
        return next((plain.index(name) for name in COMMON_NAMES if name in plain), len(names) - 1)
    if label_column in names:
        return names.index(label_column)
    near = nearest(label_column, names)
    hint = f"did you mean {near!r}? " if near else ""
    raise InputError(f"{path}: no column {label_column!r}: {hint}allowed: {', '.join(names[:20])}")


def _numbers(path: str, name: str, column: pl.Series, has_header: bool) -> np.ndarray:
    numbers = column.cast(pl.Float64, strict=False).cast(pl.Float32)
    fine = (numbers.is_not_null() & numbers.is_finite()).fill_null(False)
    if not fine.all():
        row = int((~fine).arg_true()[0])
        value = "missing" if column[row] in (None, "") else repr(column[row])
        raise InputError(f"{path}, row {row + 1 + has_header}: {name} is {value}; allowed: a finite number")
    return numbers.to_numpy()


def _labels(path: str, name: str, column: pl.Series, has_header: bool) -> np.ndarray:
    numbers = column.cast(pl.Float64, strict=False)
    missing = column.is_null() | (column == "")
    are_words = (numbers.is_null() & ~missing).any()
    # `inf` may be a word among words; `nan` is how a missing one is written.
    no_label = missing | (numbers.is_nan() if are_words else ~numbers.is_finite()).fill_null(False)
    if no_label.any():
        row = int(no_label.arg_true()[0])
        value = "missing" if missing[row] else repr(column[row])
        raise InputError(f"{path}, row {row + 1 + has_header}: {name} is {value}; allowed: a label")
    labels, label = np.unique((column if are_words else numbers).to_numpy(), return_inverse=True)
    if len(labels) < 2:
        raise InputError(f"{path}: {name} is {labels[0]} in all rows; allowed: at least two labels")
    return label.astype(np.int32)
