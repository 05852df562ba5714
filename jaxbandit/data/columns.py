"""Which columns of a table are user, item and rating: by name, by place, or by well-known names. It reads no rows."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxbandit._core.errors import InputError, nearest
from jaxbandit.data.dialect import is_number

ROLES = ("user", "item", "rating")
COMMON_NAMES = {
    "user": ("userid", "user", "uid", "customerid", "customer", "reviewerid", "useridx", "listenerid", "memberid"),
    "item": (
        "itemid", "item", "movieid", "movie", "filmid", "film", "iid", "productid", "product", "bookid", "book", "isbn",
        "asin", "artistid", "artist", "trackid", "track", "songid", "song", "gameid", "game", "businessid",
    ),
    "rating": ("rating", "ratings"),
}  # fmt: skip
# Each may be the rating where it is alone; beside each other they are not told apart.
LESSER_RATINGS = (
    "score", "stars", "overall", "weight", "reviewscore", "bookrating", "plays", "playcount", "clicks", "click",
    "clicked",
)  # fmt: skip


class Columns(NamedTuple):
    """Names of the columns, or column:1, column:2, ... by place; None: one of COMMON_NAMES."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None


COMMON = Columns()


def place(name: str | None) -> int | None:
    """Return the place that column:N stands for, from 0; None where it is a name."""
    found = re.fullmatch(r"column:([1-9][0-9]{0,8})", name or "")
    return int(found[1]) - 1 if found else None


def is_named(columns: Columns) -> bool:
    """Whether a column is given by name, so that there has to be a header."""
    return any(name is not None and place(name) is None for name in columns)


def known_roles(fields: Sequence[str]) -> set[str]:
    """Return the roles for which a field has a well-known name."""
    plain = set(map(_plain, fields))
    names = {**COMMON_NAMES, "rating": (*COMMON_NAMES["rating"], *LESSER_RATINGS)}
    return {role for role in ROLES if plain.intersection(names[role])}


def counts(fields: Sequence[str]) -> bool:
    """Whether fields are 0, 1, 2, ..., the names that data frames give to columns without names."""
    return list(fields) == [str(i) for i in range(len(fields))]


def has_header(file: str, fields: Sequence[str], second: Sequence[str], columns: Columns, roles: Sequence[str]) -> bool:
    """Tell whether the first line of a text has names.

    Raises:
        InputError: it may have names or be a row, and what is given does not say which.
    """
    if is_named(columns):
        if all(map(is_number, fields)) and not counts(fields):
            raise InputError(
                f"{file}, row 1: {', '.join(fields[:5])} are numbers, and no header: allowed: column:1, column:2, … in "
                "place of names"
            )
        return True
    if known_roles(fields).issuperset(roles):
        return True
    places = [place(name) for name in columns]
    chosen = [i if at is None else at for i, at in enumerate(places)][: len(roles)]
    own = [fields[i] if i < len(fields) else "" for i in chosen]
    if not any(map(is_number, own)) and "" not in own:
        if "rating" in roles or any(is_number(second[i]) for i in chosen if i < len(second)):
            return True
        raise InputError(f"{file}, row 1: {', '.join(own)} may be names or a row: allowed: a first line user,item")
    if counts(fields) and None in places[: len(roles)]:
        raise InputError(
            f"{file}, row 1: {', '.join(fields[:5])} may be names or a row: allowed: the three columns by name "
            "(--user-column 0 …) or by place (--user-column column:1 …)"
        )
    # Some number among text: a row. Without a number in place of the rating, a row that is refused, or names unknown.
    return not any(at is not None for at in places) and not _has_rating(own, roles)


def find(file: str, header: Sequence[str], width: int, columns: Columns, roles: Sequence[str]) -> tuple[int, ...]:
    """Return the place of each role's column; `header` is empty where a text has none.

    Raises:
        InputError: there is no such column, none is recognised, several are, or one has two roles.
    """
    if not header and width < len(roles):
        raise InputError(f"{file}, row 1: {width} fields: allowed: {', '.join(roles)}, separated by TAB, '::' or ','")
    chosen = tuple(
        _find(file, header, width, role, columns[i], i if not header else None) for i, role in enumerate(roles)
    )
    for i, at in enumerate(chosen):
        if at in chosen[:i]:
            name = header[at] if header else f"column:{at + 1}"
            raise InputError(
                f"{file}: {name!r} is the {roles[chosen.index(at)]} and the {roles[i]} column: allowed: one role each"
            )
    return chosen


def _find(file: str, header: Sequence[str], width: int, role: str, name: str | None, default: int | None) -> int:
    allowed = ", ".join(header[:20]) or f"column:1 to column:{width}"
    at = place(name)
    if at is not None and name not in header:
        if at >= width:
            raise InputError(f"{file}: no {name} (the {role} column): allowed: column:1 to column:{width}")
        return at
    if name is not None:
        if header.count(name) == 1:
            return header.index(name)
        near = nearest(name, header)
        hint = f"did you mean {near!r}? " if near else ""
        problem = "several columns" if name in header else "no column"
        raise InputError(f"{file}: {problem} {name!r} (the {role} column): {hint}allowed: {allowed}; or column:N")
    return _recognised(file, header, role) if default is None else default


def _recognised(file: str, header: Sequence[str], role: str) -> int:
    plain = list(map(_plain, header))
    found = [plain.index(common) for common in COMMON_NAMES[role] if common in plain]
    lesser = [plain.index(common) for common in LESSER_RATINGS if common in plain] if role == "rating" else []
    if found or len(lesser) == 1:
        return (found or lesser)[0]
    allowed, near = ", ".join(header[:20]), nearest(role, header)
    hint = f" (perhaps {near!r})" if near else ""
    problem = f"several may be the {role} column" if lesser else f"no {role} column is recognised"
    way = " or, where each row counts as liked, --implicit" if role == "rating" else ""
    raise InputError(f"{file}: {problem}; name it with --{role}-column{hint}{way}: allowed: {allowed}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _has_rating(own: Sequence[str], roles: Sequence[str]) -> bool:
    return "rating" not in roles or is_number(own[-1])
