"""MovieLens's layouts: which files a set has, its rating scale, and its side features. It reads no ratings.

Source: Harper and Konstan 2015, "The MovieLens Datasets: History and Context", https://doi.org/10.1145/2827872
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.data.dialect import split
from jaxbandit.data.files import Source
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.text import utf8_lines

GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
NO_GENRES = "(no genres listed)"

WHOLE_STARS = (1.0, 5.0)
HALF_STARS = (0.5, 5.0)


class Features(NamedTuple):
    """Side features by original id, one column per name."""

    rows: Mapping[str, Sequence[float]]
    names: tuple[str, ...]


class Row(NamedTuple):
    """A line of a side file, and its number from 1."""

    number: int
    fields: list[str]


class SideFile(NamedTuple):
    """A file of side features: its fields, and the function that makes features of them."""

    file: str
    separator: str
    encoding: str
    num_fields: int
    features: Callable[[list[Row]], Features]


class Layout(NamedTuple):
    """One family of MovieLens sets, recognised by the file of ratings and a file beside it."""

    name: str | None  # None: several sets share the layout
    ratings: str
    beside: str | None  # None: the file of ratings is enough
    scale: tuple[float, float]
    users: SideFile | None
    items: SideFile


def recognise(source: Source, ratings: str) -> Layout | None:
    """Return the layout of the set that the files form, or None."""
    for layout in LAYOUTS:
        if layout.ratings == ratings and (layout.beside is None or layout.beside in source.names):
            return layout
    return None


def lone_scale(file: str, header: tuple[str, ...], rating: np.ndarray) -> tuple[float, float] | None:
    """Return the scale of a MovieLens file of ratings without its companions; None where it fits none.

    Other data sets use the same names of files, so ratings must be half stars to count as MovieLens's.
    """
    half_stars = bool(np.isin(rating, np.arange(0.5, 5.5, 0.5)).all())
    if half_stars and file == "ratings.dat":
        return WHOLE_STARS if np.isin(rating, np.arange(1, 6)).all() else HALF_STARS
    if half_stars and header[:3] == ("userId", "movieId", "rating"):
        return HALF_STARS
    return None


def side_features(source: Source, layout: Layout, ratings: Ratings) -> Ratings:
    """Add the side features of the rated users and items, where the set has them.

    Ages are years (ml-100k) or the lower bound of a bracket (ml-1m: 1 means under 18).

    Raises:
        InputError: a side file has a row that cannot be read, or lacks a rated user or item.
    """
    if layout.users is not None and layout.users.file in source.names:
        features, names = _read_features(source, layout.users, "user", ratings.user_ids, layout.ratings)
        ratings = dataclasses.replace(ratings, user_features=features, user_feature_names=names)
    if layout.items.file in source.names:
        features, names = _read_features(source, layout.items, "item", ratings.item_ids, layout.ratings)
        ratings = dataclasses.replace(ratings, item_features=features, item_feature_names=names)
    return ratings


def _read_features(
    source: Source, side: SideFile, what: str, ids: np.ndarray, ratings: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the features [n, F] of the users or items with these ids, and the features' names."""
    keys = ids.astype(str)
    features = side.features(_rows(side, source.read(side.file), set(keys.tolist())))
    missing = next((key for key in keys if key not in features.rows), None)
    if missing is not None:
        raise InputError(f"{side.file}: no row for {what} = {missing}: allowed: every {what} in {ratings}")
    return np.asarray([features.rows[key] for key in keys], np.float32), features.names


def _rows(side: SideFile, raw: bytes, ids: AbstractSet[str]) -> list[Row]:
    """Split the lines that are not blank, and leave a header out: MovieLens's own files have one or none."""
    text = utf8_lines(side.file, raw, None).decode(side.encoding, "replace")
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    rows = [Row(number, split(line, side.separator)) for number, line in lines]
    seen: dict[str, int] = {}
    for number, fields in rows:
        if len(fields) != side.num_fields:
            raise InputError(f"{side.file}, row {number}: {len(fields)} fields: allowed: {side.num_fields}")
        if seen.setdefault(fields[0], number) != number:
            raise InputError(f"{side.file}, row {number}: {fields[0]} is in row {seen[fields[0]]} too: allowed: once")
    key = rows[0].fields[0] if rows else ""
    return rows[1:] if not key.isdigit() and key not in ids else rows


def _users(file: str, age: int, gender: int) -> Callable[[list[Row]], Features]:
    """Make age, gender (1 for M) and one-hot occupation of the fields at these places; occupation is the fourth."""

    def features(rows: list[Row]) -> Features:
        occupations = sorted({row[3] for _, row in rows}, key=lambda code: (len(code) if code.isdigit() else 0, code))
        by_id = {}
        for number, row in rows:
            if not row[age].isdecimal() or row[gender] not in ("M", "F"):
                shown = f"age = {row[age]}, gender = {row[gender]}"
                raise InputError(f"{file}, row {number}: {shown}: allowed: whole years, and M or F")
            by_id[row[0]] = (float(row[age]), float(row[gender] == "M"), *(float(row[3] == o) for o in occupations))
        return Features(by_id, ("age", "gender_M", *(f"occupation_{name}" for name in occupations)))

    return features


def _genre_flags(rows: list[Row]) -> Features:
    names = tuple(f"genre_{genre}" for genre in GENRES_100K)
    for number, row in rows:
        if not set(row[5:]) <= {"0", "1"}:
            raise InputError(f"u.item, row {number}: genre flags {' '.join(row[5:])}: allowed: 0 or 1")
    return Features({row[0]: [float(flag) for flag in row[5:]] for _, row in rows}, names)


def _genre_lists(rows: list[Row]) -> Features:
    listed = {row[0]: {genre.strip() for genre in row[-1].split("|")} - {NO_GENRES, ""} for _, row in rows}
    genres = sorted(set().union(*listed.values()))
    by_id = {key: [float(genre in has) for genre in genres] for key, has in listed.items()}
    return Features(by_id, tuple(f"genre_{genre}" for genre in genres))


LAYOUTS = (
    Layout(
        "ml-100k", "u.data", None, WHOLE_STARS,
        SideFile("u.user", "|", "latin-1", 5, _users("u.user", age=1, gender=2)),
        SideFile("u.item", "|", "latin-1", 24, _genre_flags),
    ),
    Layout(
        "ml-1m", "ratings.dat", "users.dat", WHOLE_STARS,
        SideFile("users.dat", "::", "latin-1", 5, _users("users.dat", age=2, gender=1)),
        SideFile("movies.dat", "::", "latin-1", 3, _genre_lists),
    ),
    Layout(
        "ml-10m", "ratings.dat", "movies.dat", HALF_STARS, None,
        SideFile("movies.dat", "::", "utf-8", 3, _genre_lists),
    ),
    Layout(None, "ratings.csv", "movies.csv", HALF_STARS, None, SideFile("movies.csv", ",", "utf-8", 3, _genre_lists)),
)  # fmt: skip
