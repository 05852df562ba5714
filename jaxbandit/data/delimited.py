"""A CSV, TSV, '::' or other delimited text -> a table. It finds header and columns; `rows` reads them."""

from collections.abc import Sequence

import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.columns import find, has_header, known_roles, place
from jaxbandit.data.dialect import recognise
from jaxbandit.data.rows import Layout, read_rows
from jaxbandit.data.tables import Reading, Table


def read_delimited(file: str, text: bytes, reading: Reading) -> Table:
    """Read the columns of the roles.

    Raises:
        InputError: naming the row where it is one row's fault; a column is not found.
    """
    wanted, roles = reading.columns, reading.roles
    names = [name for name in wanted if name is not None and place(name) is None]

    def is_header(fields: Sequence[str]) -> bool:
        return known_roles(fields) >= {"user", "item"} or bool(names and set(names) <= set(fields))

    dialect = recognise(file, text, len(roles), is_header)
    fields = dialect.first
    headed = not reading.headerless and has_header(file, fields, dialect.second, wanted, roles)
    header = tuple(fields) if headed else ()
    places = find(file, header, len(fields), wanted, roles)
    rows = read_rows(text, Layout(file, dialect.separator, dialect.skip + headed, len(fields), places, places[2:]))
    frame = rows.frame.select(pl.col(str(at)).alias(role) for at, role in zip(places, roles, strict=True))
    for role, name in zip(roles, wanted, strict=False):
        if name in names and (frame[role] == name).any():
            raise InputError(
                f"{file}: {name!r} is in row 1 and again below, so it is a value and no name: allowed: column:1, "
                "column:2, … in a file without a header"
            )
    return Table(file, frame, header, lambda index: (file, rows.line(index)))
