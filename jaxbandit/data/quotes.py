"""Which quotes of a text enclose fields, and which are letters: a title may hold a stray one. It parses no fields."""

from typing import NamedTuple

import numpy as np

from jaxbandit.data.dialect import split
from jaxbandit.data.text import places_of


class Lines(NamedTuple):
    """Where the lines of a text end, and where its quotes are."""

    ends: np.ndarray  # [lines] place of each LF, or the length of the text
    quotes: np.ndarray  # places of quotes
    proper: bool  # each quote opens or closes a field, or is doubled within one
    inside: np.ndarray  # [lines] whether a line begins within quotes

    def line(self, raw: bytes, number: int) -> bytes:
        """Return a line, from 0."""
        return raw[self.start(number) : int(self.ends[number])]

    def start(self, number: int) -> int:
        """Return where a line begins."""
        return int(self.ends[number - 1]) + 1 if number else 0


def lines_of(raw: bytes, separator: str) -> Lines:
    """Find the lines, and tell what the quotes are."""
    ends = np.append(places_of(raw, b"\n"), len(raw))
    quotes = places_of(raw, b'"')
    proper = _are_proper(raw, quotes, separator)
    inside = np.zeros(len(ends), bool)
    if proper:
        inside[1:] = np.searchsorted(quotes, ends[:-1]) % 2 == 1
    return Lines(ends, quotes, proper, inside)


def _are_proper(raw: bytes, quotes: np.ndarray, separator: str) -> bool:
    """Whether quotes open after a separator and close before one, in turns: RFC 4180, whose lines they may span."""
    if len(quotes) % 2:
        return False
    view = np.frombuffer(raw, np.uint8)
    opening, closing = quotes[0::2], quotes[1::2]
    before = view[np.maximum(opening - 1, 0)]
    after = view[np.minimum(closing + 1, len(view) - 1)] if len(view) else closing
    opens = np.isin(before, list(f'{separator}\n"'.encode())) | (opening == 0)
    closes = np.isin(after, list(f'{separator}\n\r"'.encode())) | (closing == len(view) - 1)
    return bool(opens.all() and closes.all())


def without_quotes(raw: bytes, lines: Lines, separator: str, unit: str, width: int) -> bytes:
    """Put `unit` in place of the separators, having looked at each line with a quote on its own.

    Raises:
        Ragged: such a line has another number of fields.
    """
    pieces, done = [], 0
    for number in np.unique(np.searchsorted(lines.ends, lines.quotes)).tolist():
        start, end = lines.start(number), int(lines.ends[number])
        fields = split(raw[start:end].decode("utf-8", "surrogateescape"), separator)
        if len(fields) != width:
            raise Ragged(number, len(fields))
        pieces.append(raw[done:start].replace(separator.encode(), unit.encode()))
        pieces.append(unit.join(fields).encode("utf-8", "surrogateescape"))
        done = end
    pieces.append(raw[done:].replace(separator.encode(), unit.encode()))
    return b"".join(pieces)


class Ragged(Exception):
    """A line, from 0, has so many fields, and should have another number."""

    def __init__(self, line: int, fields: int) -> None:
        super().__init__(line, fields)
        self.line, self.fields = line, fields
