"""A path -> ratings: MovieLens in all its layouts, or any table of users, items and ratings. It downloads nothing."""

import dataclasses
import os

from jaxbandit.data import movielens
from jaxbandit.data.files import open_source, ratings_file
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.tables import COMMON, Columns, read_table
from jaxbandit.data.validation import to_ratings


def read(path: str | os.PathLike[str], columns: Columns = COMMON) -> Ratings:
    """Read the ratings, and the side features where there are any, of a zip, a directory or one file.

    MovieLens layouts (100k to 32m) are recognised by their files' names, and bring their rating scale and side
    features; a file of ratings on its own brings no side features. Any other file is CSV, TSV, `::` or Parquet, and
    the scale is the range of its ratings. Columns are looked up by name (`userId`, `item_id`, ...); without a header
    they are user, item, rating. Naming a column makes a MovieLens file an ordinary one. Paths may begin with gs://.

    Raises:
        InputError: naming the file, and the row where it is one row's fault.
    """
    source = open_source(path)
    file = ratings_file(source)
    layout = None if any(columns) else movielens.recognise(source, file)
    # MovieLens's text files never have a header, so a damaged first row must not be taken for one.
    headerless = layout is not None and not file.endswith(".csv")
    table = read_table(file, source.read(file), columns, headerless=headerless)
    ratings = to_ratings(table, (layout and layout.name) or source.stem, layout and layout.scale)
    if layout is not None:
        return movielens.side_features(source, layout, ratings)
    scale = None if any(columns) else movielens.lone_scale(file, table.header, ratings.rating)
    return dataclasses.replace(ratings, low=scale[0], high=scale[1]) if scale else ratings
