"""Rows of numbers with a label each, from scikit-learn or a file. It scales no features and knows no rewards."""

from typing import NamedTuple

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.ids import MISSING
from jaxbandit.data.labelled_table import LabelledTable, read_labelled_table
from jaxbandit.data.streams import read_whole

SHIPPED = {"digits": "load_digits", "breast-cancer": "load_breast_cancer", "wine": "load_wine"}
ALLOWED = f"{' | '.join(SHIPPED)}, or the path of a CSV"
MOST_LABELS = 5_000
MOST_CATEGORIES = 100  # of a column of words
FEW = 10  # different labels with fractions; more are a measurement


class Labelled(NamedTuple):
    """R rows of d features. Labels are re-indexed in sorted order."""

    features: np.ndarray  # [R, d] float32
    label: np.ndarray  # [R] int32
    num_labels: int


def load_labelled(name_or_path: str, label_column: str | None = None) -> Labelled:
    """Load a data set of scikit-learn, or read a CSV with or without a header. A known name wins over a path.

    The labels, numbers or words, are in the column of that name, or at that place (column:3); by default in that called
    label, class, target or y, else in the last. Other columns of words become a feature of 0 and 1 for each word.

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
    raw = read_whole("data", path, f"; allowed: {ALLOWED}")
    if not raw or raw.isspace():
        raise InputError(f"data {path!r} is empty; allowed: {ALLOWED}")
    table = read_labelled_table(path, raw, label_column)
    features = [_features(table, i) for i in range(table.frame.width) if i != table.label]
    label = _labels(table, is_chosen=label_column is not None)
    return Labelled(np.column_stack(features), label, int(label.max()) + 1)


def _features(table: LabelledTable, place: int) -> np.ndarray:
    """Return a column of numbers, or a column for each word [R, words]."""
    column, name = table.frame[:, place], table.names[place]
    numbers = column.cast(pl.Float64, strict=False).cast(pl.Float32)
    missing = (column.is_null() | column.is_in(MISSING)).fill_null(True)
    are_words = numbers.null_count() == len(column)
    if are_words and not missing.any():
        words = column.unique().sort()
        if len(words) > MOST_CATEGORIES:
            raise InputError(
                f"{table.file}: {name} has {len(words):,} different words; allowed: at most {MOST_CATEGORIES}, "
                "numbers, or a file without this column"
            )
        return (column.to_numpy()[:, None] == words.to_numpy()[None]).astype(np.float32)
    fine = ~missing if are_words else (numbers.is_not_null() & numbers.is_finite()).fill_null(False)
    if not fine.all():
        row = int((~fine).arg_true()[0])
        value = "missing" if column[row] in (None, "") else repr(column[row])[:40]
        allowed = "a word" if are_words else "a finite number"
        raise InputError(f"{table.row(row)}: {name} is {value}; allowed: {allowed}")
    return numbers.to_numpy()[:, None]


def _labels(table: LabelledTable, *, is_chosen: bool) -> np.ndarray:
    column, name = table.frame[:, table.label], table.names[table.label]
    numbers = column.cast(pl.Float64, strict=False)
    missing = (column.is_null() | column.is_in(MISSING)).fill_null(True)
    are_words = (numbers.is_null() & ~missing).any()
    # `inf` may be a word among words.
    no_label = missing if are_words else missing | ~numbers.is_finite().fill_null(False)
    if no_label.any():
        row = int(no_label.arg_true()[0])
        value = "missing" if column[row] in (None, "") else repr(column[row])
        raise InputError(f"{table.row(row)}: {name} is {value}; allowed: a label")
    labels, label = np.unique((column if are_words else numbers).to_numpy(), return_inverse=True)
    if len(labels) < 2:
        raise InputError(f"{table.file}: {name} is {labels[0]} in all rows; allowed: at least two labels")
    if len(labels) > MOST_LABELS or not (is_chosen or are_words or _may_be_labels(labels, len(label))):
        raise InputError(
            f"{table.file}: {name} has {len(labels):,} different values, and seems to be no label; allowed: "
            f"--label-column NAME, of at most {MOST_LABELS:,} labels"
        )
    return label.astype(np.int32)


def _may_be_labels(labels: np.ndarray, rows: int) -> bool:
    """Whether numbers may be labels, and not a measurement or a count."""
    if (labels != np.round(labels)).any():
        return len(labels) <= min(FEW, rows / 2)
    return len(labels) <= max(100, rows / 10)
