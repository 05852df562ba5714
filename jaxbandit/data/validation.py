"""A table -> checked `Ratings`: every row has two ids and a finite rating, no pair occurs twice. It opens no file."""

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.tables import Table


def to_ratings(table: Table, name: str, scale: tuple[float, float] | None) -> Ratings:
    """Check the rows and re-index the ids in sorted order.

    Args:
        table: What was read.
        name: The data set's name.
        scale: The lowest and the highest rating allowed; None takes those of the table.

    Raises:
        InputError: an id or a rating is missing, a rating is no finite number or off the scale, or a pair is rated
            twice (the message names file and row); there are no rows, or there is one user or one item alone.
    """
    if table.frame.is_empty():
        raise InputError(f"{table.file}: no ratings: allowed: at least 2 users and 2 items")
    users, items = _ids(table, "user"), _ids(table, "item")
    rating = _numbers(table)
    low, high = scale or (float(rating.min()), float(rating.max()))
    off = (rating < low) | (rating > high)
    if off.any():
        row = int(off.argmax())
        raise InputError(f"{table.row(row)}: rating = {rating[row]:g}: allowed: {low:g} to {high:g}")
    user_ids, user = _reindex(users)
    item_ids, item = _reindex(items)
    for what, ids in (("user", user_ids), ("item", item_ids)):
        if len(ids) < 2:
            raise InputError(f"{table.file}: one {what} only ({what} = {ids[0]}): allowed: at least 2 {what}s")
    _refuse_duplicates(table, user, item, len(item_ids))
    return Ratings(name, user, item, rating, user_ids, item_ids, low, high)


def _ids(table: Table, role: str) -> pl.Series:
    ids = table.frame[role]
    if ids.dtype.is_float():
        # A spreadsheet or a data frame with a gap turns whole numbers into floats.
        whole = ids.cast(pl.Int64, strict=False)
        broken = ids.is_not_null() & ids.is_not_nan() & (whole.is_null() | (whole.cast(pl.Float64) != ids))
        if broken.any():
            row = int(broken.arg_true()[0])
            raise InputError(f"{table.row(row)}: {role} = {ids[row]}: allowed: a whole number or text")
        ids = whole
    elif not ids.dtype.is_integer():
        ids = ids.cast(pl.String).str.strip_chars()
        ids = ids.set(ids == "", None)
        as_numbers = ids.cast(pl.Int64, strict=False)
        if as_numbers.null_count() == ids.null_count():
            ids = as_numbers
    if ids.null_count():
        row = int(ids.is_null().arg_true()[0])
        raise InputError(f"{table.row(row)}: {role} is missing: allowed: a whole number or text")
    return ids


def _numbers(table: Table) -> np.ndarray:
    written = table.frame["rating"]
    text = written.cast(pl.String).str.strip_chars() if not written.dtype.is_numeric() else written
    numbers = text.cast(pl.Float64, strict=False)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused as such
        rating = numbers.to_numpy().astype(np.float32)  # null becomes NaN
    bad = ~np.isfinite(rating)
    if bad.any():
        row = int(bad.argmax())
        shown = "is missing" if written[row] in (None, "") else f"= {written[row]}"
        raise InputError(f"{table.row(row)}: rating {shown}: allowed: a finite number")
    return rating


def _reindex(ids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct ids, and the place of each row's id among them."""
    distinct = ids.unique().sort()
    index = (ids.rank("dense") - 1).cast(pl.Int32).to_numpy()
    values = distinct.to_numpy()
    return (values.astype(str) if values.dtype == object else values), np.ascontiguousarray(index)


def _refuse_duplicates(table: Table, user: np.ndarray, item: np.ndarray, num_items: int) -> None:
    pair = user.astype(np.int64) * num_items + item
    ordered = np.sort(pair)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    order = np.argsort(pair, kind="stable")
    again = np.flatnonzero(pair[order][1:] == pair[order][:-1]) + 1
    place = again[order[again].argmin()]
    first, second = int(order[place - 1]), int(order[place])
    who, what = table.frame["user"][second], table.frame["item"][second]
    raise InputError(
        f"{table.row(second)}: duplicate rating of user = {who}, item = {what} (first in row "
        f"{first + table.first_row}): allowed: one per pair"
    )
