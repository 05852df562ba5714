"""Ids as they are written -> whole numbers or text, and their order. No id is altered, and none made of a gap."""

from collections.abc import Callable

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.tables import Table

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "None", "\\N")  # how tools write a gap
MOST_LETTERS = 1000
WHOLE = r"^(?:0|-?[1-9][0-9]{0,18})(?:\.0+)?$"  # a data frame with a gap writes 7 as 7.0


def ids_of(table: Table, role: str) -> pl.Series:
    """Return the ids of users or items, as `written_ids` does."""
    return written_ids(table.frame[role], role, table.row)


def written_ids(ids: pl.Series, name: str, row: Callable[[int], str]) -> pl.Series:
    """Return ids as whole numbers where all of them are, without leading zeros, or else as text; `row` names a row.

    Raises:
        InputError: one is missing, is a broken number of a column of numbers, or is too long to be an id.
    """

    def refuse(bad: pl.Series, allowed: str) -> None:
        if bad.any():
            raise _refusal(name, ids, int(bad.arg_true()[0]), row, allowed)

    if ids.dtype.is_float():
        whole = ids.cast(pl.Int64, strict=False)
        refuse(
            ids.is_not_null() & ids.is_not_nan() & (whole.is_null() | (whole.cast(pl.Float64) != ids)),
            "a whole number or text",
        )
        ids = whole
    elif not ids.dtype.is_integer():
        if (numbers := _numbers(ids.cast(pl.String))) is not None:
            return numbers
        ids = ids.cast(pl.String).str.strip_chars()
        if (numbers := _numbers(ids)) is not None:
            return numbers
        refuse(ids.is_null() | ids.is_in(MISSING), "a whole number or text")
        refuse(ids.str.contains("\0", literal=True), "no NUL in text")
        refuse(ids.str.len_bytes() > MOST_LETTERS, f"at most {MOST_LETTERS:,} bytes")
    refuse(ids.is_null(), "a whole number or text")
    return ids


def reindex(ids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct ids, and the place of each row's id among them."""
    distinct = ids.unique().sort()
    index = (ids.rank("dense") - 1).cast(pl.Int32).to_numpy()
    values = distinct.to_numpy()
    return (values.astype(str) if values.dtype == object else values), np.ascontiguousarray(index)


def _numbers(ids: pl.Series) -> pl.Series | None:
    """Return whole numbers where all ids are such, written as a number is; otherwise None."""
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count() == 0:
        odd = (ids < "1") & (ids != "0")  # begin with a zero or a sign
        return numbers if ids.filter(odd).str.contains(WHOLE).all() else None
    if ids.null_count() or not (ids.head(1000).str.contains(WHOLE).all() and ids.str.contains(WHOLE).all()):
        return None
    numbers = ids.str.split(".").list.first().cast(pl.Int64, strict=False)
    return numbers if numbers.null_count() == 0 else None


def _refusal(name: str, ids: pl.Series, index: int, row: Callable[[int], str], allowed: str) -> InputError:
    shown = "is missing" if ids[index] in (None, "") else f"= {str(ids[index])[:20]}"
    if shown[2:] in MISSING:
        shown += ", as tools write what is missing"
    return InputError(f"{row(index)}: {name} {shown}: allowed: {allowed}")
