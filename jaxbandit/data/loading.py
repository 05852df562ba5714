"""The name of a data set, or a path -> ratings: generated, from the cache, or read. It parses nothing."""

import dataclasses
import os

from etils import epath

from jaxbandit._core.errors import InputError, unknown
from jaxbandit._core.files import mounted
from jaxbandit.data.columns import Columns
from jaxbandit.data.download import cached
from jaxbandit.data.implicit import as_implicit
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.readers import check_options, read
from jaxbandit.data.registry import DATASETS
from jaxbandit.data.synthetic import WORLDS, synth


def load(
    name_or_path: str | os.PathLike[str],
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    rating_column: str | None = None,
    duplicates: str = "error",
    encoding: str | None = None,
    implicit: bool = False,
) -> Ratings:
    """Generate, take from the cache, or read ratings. A registered name wins over a path; `./ml-100k` is a path.

    Raises:
        InputError: the name is unknown or not downloaded yet, columns or an encoding were named for a registered data
          set, or the path's content is refused (see `read`).
    """
    name = str(name_or_path)
    columns = Columns(user_column, item_column, rating_column)
    if name not in DATASETS:
        if not epath.Path(mounted(name)).expanduser().exists() and _is_plain_word(name):
            raise unknown("data set", name, DATASETS)
        return read(name_or_path, columns, duplicates=duplicates, encoding=encoding, implicit=implicit)
    check_options(columns, duplicates, encoding, implicit)
    given = {**{f"{role}_column": column for role, column in columns._asdict().items()}, "encoding": encoding}
    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option} = {value!r}: data set {name!r} has a known one: allowed: only with a path")
    if name in WORLDS:
        return as_implicit(synth(name)) if implicit else synth(name)
    path = cached(name)
    if path is None:
        raise InputError(f"data set {name!r}: not downloaded yet: run `jaxbandit data fetch {name}`, or give a path")
    return dataclasses.replace(read(path, duplicates=duplicates, implicit=implicit), name=name)


def _is_plain_word(name: str) -> bool:
    return not any(mark in name for mark in ("/", os.sep, "."))
