"""A table -> checked `Ratings`: every row has two ids and a finite rating, no pair occurs twice. It opens no file."""

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.ids import ids_of, reindex
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.tables import Table

DUPLICATES = ("error", "last", "first", "mean")
LARGEST = 1e6  # rating: fits square them in float32, and a time stamp is no rating
FINEST = 1e-6  # range of the ratings, also as a share of the largest


def to_ratings(table: Table, name: str, scale: tuple[float, float] | None, duplicates: str = "error") -> Ratings:
    """Check the rows and re-index the ids in sorted order.

    Args:
        table: What was read; without ratings, each row counts as 1.
        name: The data set's name.
        scale: The lowest and the highest rating allowed; None takes those of the table.
        duplicates: What becomes of ratings of one pair: refused, or the last, the first or the mean of them is kept.

    Raises:
        InputError: an id or a rating is missing, a rating is no finite number or off the scale, or a pair is rated
            twice (the message names file and row); there are no rows, or there is one user, item or rating alone.
    """
    if table.frame.is_empty():
        raise InputError(f"{table.file}: no ratings: allowed: at least 2 users and 2 items")
    users, items = ids_of(table, "user"), ids_of(table, "item")
    implicit = "rating" not in table.frame
    rating = np.ones(len(users), np.float32) if implicit else _numbers(table)
    low, high = scale or (float(rating.min()), float(rating.max()))
    off = (rating < low) | (rating > high)
    if off.any():
        row = int(off.argmax())
        raise InputError(f"{table.row(row)}: rating = {rating[row]:g}: allowed: {low:g} to {high:g}")
    user_ids, user = reindex(users)
    item_ids, item = reindex(items)
    for what, ids in (("user", user_ids), ("item", item_ids)):
        if len(ids) < 2:
            raise InputError(f"{table.file}: one {what} only ({what} = {ids[0]}): allowed: at least 2 {what}s")
    kept = _kept(table, user, item, len(item_ids), "first" if implicit else duplicates)
    if kept is not None:
        rating = _mean(user, item, rating, len(item_ids), kept) if duplicates == "mean" else rating[kept]
        user, item = user[kept], item[kept]
    if scale is None:
        low, high = float(rating.min()), float(rating.max())
    if not implicit and high - low <= FINEST * max(1, abs(low), abs(high)):
        raise InputError(
            f"{table.file}: all ratings are {low:g}, or nearly, and tell nothing apart: allowed: different ones, on a "
            "larger scale; "
            "--implicit where each row counts as liked"
        )
    return Ratings(name, user, item, rating, user_ids, item_ids, low, high)


def _numbers(table: Table) -> np.ndarray:
    written = table.frame["rating"]
    numbers = written.cast(pl.Float64, strict=False)
    if numbers.null_count() and not written.dtype.is_numeric():
        text = written.cast(pl.String).str.strip_chars()
        numbers, truth = text.cast(pl.Float64, strict=False), text.str.to_lowercase()
        if truth.is_in(("true", "false")).fill_null(False).all():
            return (truth == "true").cast(pl.Float32).to_numpy()
    rating = numbers.to_numpy()
    bad = ~(np.abs(rating) <= LARGEST)  # null is NaN by now
    if bad.any():
        row = int(bad.argmax())
        value = str(written[row])[:20]
        shown = "is missing" if written[row] in (None, "") else f"= {value}"
        allowed = f"a number from {-LARGEST:g} to {LARGEST:g}" if np.isfinite(rating[row]) else "a finite number"
        hint = f", as {value.replace(',', '.')}" if value.replace(",", "", 1).isdigit() and "," in value else ""
        raise InputError(f"{table.row(row)}: rating {shown}: allowed: {allowed}{hint}")
    return rating.astype(np.float32)


def _kept(table: Table, user: np.ndarray, item: np.ndarray, num_items: int, duplicates: str) -> np.ndarray | None:
    """Return the rows of one rating per pair, in order; None where no pair occurs twice."""
    pair = user.astype(np.int64) * num_items + item
    ordered = np.sort(pair)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    order = np.argsort(pair, kind="stable")
    again = pair[order][1:] == pair[order][:-1]
    if duplicates == "error":
        raise _duplicate(table, order, np.flatnonzero(again) + 1)
    ends = np.append(~again, True) if duplicates == "last" else np.append(True, ~again)
    return np.sort(order[ends])


def _mean(user: np.ndarray, item: np.ndarray, rating: np.ndarray, num_items: int, kept: np.ndarray) -> np.ndarray:
    """Average the ratings of each pair, in the order of its kept row."""
    pair = user.astype(np.int64) * num_items + item
    _, group = np.unique(pair, return_inverse=True)
    means = np.bincount(group, rating.astype(np.float64)) / np.bincount(group)
    return means[group[kept]].astype(np.float32)


def _duplicate(table: Table, order: np.ndarray, again: np.ndarray) -> InputError:
    """Name the first row that rates a pair again; `again` are its places in the order of pairs."""
    place = again[order[again].argmin()]
    first, second = int(order[place - 1]), int(order[place])
    who, what = table.frame["user"][second], table.frame["item"][second]
    file, number = table.place(first)
    where = f"row {number}" if file == table.place(second)[0] else f"{file}, row {number}"
    return InputError(
        f"{table.row(second)}: duplicate rating of user = {who}, item = {what} (first in {where}): allowed: one per "
        f"pair, or --duplicates {' | '.join(DUPLICATES[1:])}"
    )
