"""How a text file is written: what separates its fields, and which lines at its top are no rows.

Only the first lines are looked at; `rows` reads the others.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxbandit._core.errors import InputError

SEPARATORS = (",", "\t", ";", "|", "::")
BLANKS = " "  # any run of spaces and tabs
SAMPLE = 20  # lines that decide
MOST_TOP = 1000  # lines above the first row
COMMENTS = ("#", "%")
MATRIX_MARKET = "%%MatrixMarket"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?')  # Excel's


class Dialect(NamedTuple):
    """What the first lines say."""

    separator: str
    skip: int  # lines above the header, or above the first row where there is no header
    first: list[str]  # fields of the next line
    second: list[str]  # and of the one after it; empty where there is none


def recognise(file: str, raw: bytes, need: int, is_header: Callable[[Sequence[str]], bool]) -> Dialect:
    """Find the separator and the first row.

    Args:
        file: Its name.
        raw: UTF-8 text with LF or CRLF.
        need: Fields that a row must have at least.
        is_header: Whether fields have names that are known.

    Raises:
        InputError: a line at the top may be a comment or a row.
    """
    lines = _first_lines(raw)
    given = SEPARATOR_LINE.fullmatch(lines[0].strip())
    rows = [i for i in range(given is not None, len(lines)) if _is_row(lines[i])]
    if not rows:  # of ids that begin with such a sign
        rows = [i for i in range(given is not None, len(lines)) if lines[i].strip()]
    sample = [lines[i] for i in rows[:SAMPLE]] or [""]
    separator = given[1] if given else _separator(sample, need, is_header)
    fields = [split(line, separator) for line in sample[:3]]
    skip = rows[0] if rows else 0
    if lines[0].startswith(MATRIX_MARKET):  # its first line is the shape
        return Dialect(separator, skip + 1, fields[1] if len(fields) > 1 else [], fields[2] if len(fields) > 2 else [])
    for i in range(skip):
        above = split(lines[i].lstrip("".join(COMMENTS)), separator)
        if len(above) != len(fields[0]) or len(above) < need or separator == BLANKS:
            continue
        if is_header(above) and not is_header(fields[0]):
            return Dialect(separator, i, above, fields[0])
        if any(map(is_number, above)):
            raise InputError(
                f"{file}, row {i + 1}: begins with {lines[i][0]} and reads like a row: allowed: delete it, or put its "
                "first field in quotes"
            )
    return Dialect(separator, skip, fields[0], fields[1] if len(fields) > 1 else [])


def split(line: str, separator: str) -> list[str]:
    """Split a line. A field in quotes ends at a quote before a separator; other quotes are letters."""
    if separator == BLANKS:
        line = re.sub(r"[ \t]+", BLANKS, line).strip()
    line = line.rstrip("\r")
    if '"' not in line:
        return [field.strip() for field in line.split(separator)]
    fields, at = [], 0
    while at <= len(line):
        closing = _closing(line, at) if line.startswith('"', at) else -1
        end = closing + 1
        if closing >= 0 and (end == len(line) or line.startswith(separator, end)):
            fields.append(line[at + 1 : closing].replace('""', '"').strip())
        else:
            end = line.find(separator, max(at, end))
            end = len(line) if end < 0 else end
            fields.append(line[at:end].strip())
        at = end + len(separator)
    return fields


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _closing(line: str, at: int) -> int:
    """Find the quote that closes the one at a place; doubled ones stand for themselves."""
    closing = line.find('"', at + 1)
    while closing >= 0 and line.startswith('"', closing + 1):
        closing = line.find('"', closing + 2)
    return closing


def _first_lines(raw: bytes) -> list[str]:
    """Return the lines of which none but comments stand above, and some of those below."""
    lines: list[str] = []
    at = rows = 0
    while at <= len(raw) and rows <= SAMPLE and len(lines) < MOST_TOP:
        end = raw.find(b"\n", at)
        end = len(raw) if end < 0 else end
        lines.append(raw[at:end].decode("utf-8", "replace").rstrip("\r"))
        rows += _is_row(lines[-1])
        at = end + 1
    return lines


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(COMMENTS)


def _separator(sample: list[str], need: int, is_header: Callable[[Sequence[str]], bool]) -> str:
    """Choose the separator that gives enough fields, a header that is known, and the same number in each line."""

    def merit(separator: str) -> tuple[bool, bool, float, int]:
        rows = [split(line, separator) for line in sample]
        width = len(rows[0])
        alike = sum(len(row) == width for row in rows) / len(rows)
        return width >= need, width >= need and is_header(rows[0]), alike, width

    best = max(SEPARATORS, key=merit)
    return BLANKS if merit(best)[0] < merit(BLANKS)[0] else best
