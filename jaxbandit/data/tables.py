"""Bytes of one table -> a frame of user, item and rating. It finds the columns; `validation` checks their content."""

import csv
import io
import re
from typing import NamedTuple

import polars as pl

from jaxbandit._core.errors import InputError, nearest

ROLES = ("user", "item", "rating")
COMMON_NAMES = {
    "user": ("userid", "user", "uid", "customerid", "customer", "reviewerid"),
    "item": ("itemid", "item", "movieid", "movie", "iid", "productid", "product", "bookid", "isbn", "asin"),
    "rating": ("rating", "ratings", "score", "stars", "overall"),
}
# Polars takes separators of one byte, so '::' becomes ASCII's own unit separator, which no text contains.
UNIT_SEPARATOR = "\x1f"


class Columns(NamedTuple):
    """Names of the columns; None: one of COMMON_NAMES."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None


COMMON = Columns()


class Table(NamedTuple):
    """Columns user, item, rating as they stand in a file; ratings are Float64, or String where one is no number."""

    file: str
    frame: pl.DataFrame
    header: tuple[str, ...]  # empty: the file has none
    first_row: int  # row number in the file, from 1, of the frame's first row

    def row(self, index: int) -> str:
        """Name a row as errors do."""
        return f"{self.file}, row {index + self.first_row}"


def read_table(file: str, raw: bytes, columns: Columns, *, headerless: bool = False) -> Table:
    """Find user, item and rating in a CSV, TSV, '::' or Parquet file, recognised by its content.

    A text file has no header if `headerless`, or if its third field is a number and no column was named; then the
    first three fields are user, item and rating.

    Raises:
        InputError: the file is empty, of another kind, cut short, or lacks a column.
    """
    if not raw.strip():
        raise InputError(f"{file}: empty file: allowed: a table with a user, an item and a rating in each row")
    if raw[:4] == b"PAR1" or file.lower().endswith(".parquet"):
        return _read_parquet(file, raw, columns)
    if b"\0" in raw[:4096]:
        raise InputError(f"{file}: binary content: allowed: CSV, TSV, '::' or Parquet, or a zip of these")
    return _read_text(file, raw.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"), columns, headerless)


def _read_parquet(file: str, raw: bytes, columns: Columns) -> Table:
    try:
        header = tuple(pl.read_parquet_schema(io.BytesIO(raw)))
        positions = _positions(file, header, columns)
        frame = pl.read_parquet(io.BytesIO(raw), columns=[header[i] for i in positions])
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = reason_of(error)
        raise InputError(f"{file}: truncated or corrupt Parquet ({reason}): allowed: a complete file") from error
    frame = frame.select(pl.col(header[i]).alias(role) for i, role in zip(positions, ROLES, strict=True))
    return Table(file, frame, header, first_row=1)


def _read_text(file: str, raw: bytes, columns: Columns, headerless: bool) -> Table:
    first_line = raw[: raw.find(b"\n")] if b"\n" in raw else raw
    separator = _separator(first_line.decode("utf-8", "replace"))
    if separator == "::":
        raw, first_line = (part.replace(b"::", UNIT_SEPARATOR.encode()) for part in (raw, first_line))
        separator = UNIT_SEPARATOR
    fields = split_fields(first_line.decode("utf-8", "replace").rstrip("\r"), separator)
    if any(columns):
        headerless = False
    elif not headerless:
        headerless = len(fields) > 2 and is_number(fields[2])
    if headerless and len(fields) < 3:
        raise InputError(
            f"{file}, row 1: {len(fields)} fields: allowed: user, item, rating, separated by TAB, '::' or ','"
        )
    header = () if headerless else tuple(fields)
    positions = (0, 1, 2) if headerless else _positions(file, header, columns)
    frame = _parse(file, raw, separator, len(fields), positions, skip=len(header) > 0)
    return Table(file, frame, header, first_row=1 + (not headerless))


def _parse(
    file: str, raw: bytes, separator: str, width: int, positions: tuple[int, ...], *, skip: bool
) -> pl.DataFrame:
    names = [f"field {i}" for i in range(width)]
    roles = dict(zip(positions, ROLES, strict=True))
    reason: Exception | None = None
    # Numbers first, which is fast; then text, so that ids may be words and a bad number can be shown.
    for id_type, rating_type in ((pl.Int64, pl.Float64), (pl.String, pl.String)):
        types = {"user": id_type, "item": id_type, "rating": rating_type}
        schema = {name: types.get(roles.get(i, ""), pl.String) for i, name in enumerate(names)}
        quote = '"' if separator in ",;" else None
        try:
            frame = pl.read_csv(
                io.BytesIO(raw), has_header=False, skip_rows=int(skip), separator=separator, schema=schema,
                columns=sorted(positions), quote_char=quote,
            )  # fmt: skip
        except pl.exceptions.NoDataError:
            return pl.DataFrame(schema=types)
        except pl.exceptions.PolarsError as error:
            reason = error
        else:
            return frame.select(pl.col(names[i]).alias(role) for i, role in roles.items())
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if len(split_fields(line, separator)) > width:
            raise InputError(f"{file}, row {number}: more fields than in row 1: allowed: {width}") from reason
    raise InputError(
        f"{file}: not a table ({reason_of(reason)}): allowed: UTF-8 text, the same fields in each row"
    ) from reason


def _positions(file: str, header: tuple[str, ...], columns: Columns) -> tuple[int, ...]:
    return tuple(_position(file, header, role, name) for role, name in zip(ROLES, columns, strict=True))


def _position(file: str, header: tuple[str, ...], role: str, name: str | None) -> int:
    allowed = ", ".join(header[:20])
    if name is not None:
        if name in header:
            return header.index(name)
        near = nearest(name, header)
        hint = f"did you mean {near!r}? " if near else ""
        raise InputError(f"{file}: no column {name!r} (the {role} column): {hint}allowed: {allowed}")
    plain = [re.sub(r"[^a-z0-9]", "", column.lower()) for column in header]
    for common in COMMON_NAMES[role]:
        if common in plain:
            return plain.index(common)
    near = nearest(role, header)
    hint = f" (perhaps {near!r})" if near else ""
    raise InputError(f"{file}: no {role} column is recognised; name it{hint}: allowed: {allowed}")


def _separator(line: str) -> str:
    for separator in ("::", "\t"):
        if separator in line:
            return separator
    return max(",;|", key=line.count)


def split_fields(line: str, separator: str) -> list[str]:
    """Split one line; commas and semicolons may stand in quotes."""
    if separator not in ",;":
        return [field.strip() for field in line.split(separator)]
    return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def reason_of(error: Exception | None) -> str:
    """Return the first line of another library's error."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
