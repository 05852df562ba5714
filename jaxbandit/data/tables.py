"""The record that all readers of one file return: user, item and rating as they stand there. It reads nothing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.columns import COMMON, ROLES, Columns


class Table(NamedTuple):
    """Columns user, item and, where there is one, rating, as they stand in a file: text, or Parquet's types."""

    file: str
    frame: pl.DataFrame
    header: tuple[str, ...]  # empty: the file has none
    place: Callable[[int], tuple[str, int]]  # of a row: file, and row of it from 1

    def row(self, index: int) -> str:
        """Name a row as errors do."""
        file, number = self.place(index)
        return f"{file}, row {number}"


class Reading(NamedTuple):
    """How a table is read."""

    columns: Columns = COMMON
    encoding: str | None = None
    implicit: bool = False  # there is no rating
    headerless: bool = False  # a text has no header, whatever its first line looks like

    @property
    def roles(self) -> tuple[str, ...]:
        """Columns to be found."""
        return ROLES[:2] if self.implicit else ROLES


def join(tables: Sequence[Table]) -> Table:
    """Put the parts of one table under each other.

    Raises:
        InputError: they have other columns.
    """
    first = tables[0]
    for table in tables[1:]:
        if table.header != first.header:
            raise InputError(f"{table.file}: other columns than in {first.file}: allowed: parts of one table")
    ends = [0]
    for table in tables:
        ends.append(ends[-1] + len(table.frame))

    def place(index: int) -> tuple[str, int]:
        part = max(i for i in range(len(tables)) if ends[i] <= index)
        return tables[part].place(index - ends[part])

    return first._replace(frame=pl.concat([table.frame for table in tables], how="vertical_relaxed"), place=place)
