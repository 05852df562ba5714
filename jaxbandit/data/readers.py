"""A path -> ratings: MovieLens in all its layouts, or any table of users, items and ratings. It downloads nothing."""

import dataclasses
import os

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit.data import movielens
from jaxbandit.data.columns import COMMON, Columns
from jaxbandit.data.delimited import read_delimited
from jaxbandit.data.files import Source, open_source, ratings_files
from jaxbandit.data.implicit import as_implicit
from jaxbandit.data.json_lines import is_json, read_json_lines
from jaxbandit.data.parquet import read_parquet
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.tables import Reading, Table, join
from jaxbandit.data.text import check_encoding, utf8_lines
from jaxbandit.data.validation import DUPLICATES, to_ratings


def read(
    path: str | os.PathLike[str],
    columns: Columns = COMMON,
    *,
    duplicates: str = "error",
    encoding: str | None = None,
    implicit: bool = False,
) -> Ratings:
    """Read the ratings, and the side features where there are any, of a zip, a directory, a pipe or one file.

    MovieLens layouts (100k to 32m) are recognised by their files' names, and bring their rating scale and side
    features; a file of ratings on its own brings no side features. Any other file is CSV, TSV, `::`, JSON lines or
    Parquet, also packed, and the scale is the range of its ratings. Columns are looked up by name (`userId`, ...);
    without a header they are user, item, rating. Naming a column makes a MovieLens file an ordinary one. Paths may
    begin with gs://. `implicit` needs no ratings: see `as_implicit`.

    Raises:
        InputError: naming the file, and the row where it is one row's fault.
    """
    check_options(columns, duplicates, encoding, implicit)
    source, files = ratings_files(open_source(path))
    file = files[0]
    layout = None if any(columns) or len(files) > 1 else movielens.recognise(source, file)
    # MovieLens's text files never have a header, so a damaged first row must not be taken for one.
    reading = Reading(columns, encoding, implicit, layout is not None and not file.endswith(".csv"))
    table = _table(source, files, reading)
    scale = None if implicit or layout is None else layout.scale
    ratings = to_ratings(table, (layout and layout.name) or source.stem, scale, duplicates)
    if scale is None and not any(columns) and (own := movielens.lone_scale(file, table.header, ratings.rating)):
        ratings = dataclasses.replace(ratings, low=own[0], high=own[1])
    if implicit:
        ratings = as_implicit(ratings)
    return ratings if layout is None else movielens.side_features(source, layout, ratings)


def check_options(columns: Columns, duplicates: str, encoding: str | None, implicit: bool) -> None:
    """Refuse options of reading that no file could have.

    Raises:
        InputError: an unknown rule or encoding, one column for two roles, or a rating column of implicit ratings.
    """
    if duplicates not in DUPLICATES:
        raise refused_name("duplicates is", duplicates, DUPLICATES)
    if encoding is not None:
        check_encoding(encoding)
    if implicit and columns.rating is not None:
        raise InputError(f"rating_column is {columns.rating!r}, but implicit needs no ratings; allowed: one of them")
    given = [name for name in columns if name is not None]
    if twice := next((name for name in given if given.count(name) > 1), None):
        raise InputError(f"column {twice!r} is given two roles; allowed: a column each for user, item and rating")


def _table(source: Source, files: tuple[str, ...], reading: Reading) -> Table:
    """Read the table, whose parts have the columns of the first one."""
    tables: list[Table] = []
    for file in files:
        raw = source.read(file)
        if (raw and not raw.isspace()) or len(files) == 1:  # a part may be empty
            headerless = reading.headerless or bool(tables and not tables[0].header)
            tables.append(read_table(file, raw, reading._replace(headerless=headerless)))
    if not tables:
        raise InputError(f"{source.path}: all parts are empty: allowed: rows of user, item and rating")
    return join(tables)


def read_table(file: str, raw: bytes, reading: Reading) -> Table:
    """Find user, item and rating in a CSV, TSV, '::', JSON lines or Parquet file, recognised by its content.

    Raises:
        InputError: the file is empty, of another kind, cut short, or lacks a column.
    """
    if raw[:4] == b"PAR1" or file.lower().endswith(".parquet"):
        return read_parquet(file, raw, reading)
    text = utf8_lines(file, raw, reading.encoding)
    if not text or text.isspace():
        raise InputError(f"{file}: empty file: allowed: a table with a user, an item and a rating in each row")
    if is_json(text):
        return read_json_lines(file, text, reading)
    return read_delimited(file, text, reading)
