"""JSON lines, an object in each, as Amazon and Yelp publish ratings -> a table. Polars reads them."""

import io
import itertools
import json
import re
from collections.abc import Callable

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.columns import find, place
from jaxbandit.data.tables import Reading, Table
from jaxbandit.data.text import places_of

SAMPLE = 100  # objects whose keys are the columns
ALLOWED = 'an object in each line, as {"user": 1, "item": 2, "rating": 3}'


def is_json(text: bytes) -> bool:
    """Whether a text begins as an object does, in Python's notation too, or as a list of objects."""
    return re.match(rb"""\s*(\[\s*)?\{\s*["'}]""", text) is not None


def read_json_lines(file: str, text: bytes, reading: Reading) -> Table:
    """Read the keys of the roles.

    Raises:
        InputError: a line is no object, or a key is not found.
    """
    roles, header = reading.roles, []

    def choose(keys: list[str]) -> list[str]:
        header.extend(keys)
        if any(place(name) is not None for name in reading.columns):
            raise InputError(f"{file}: JSON lines have no places: allowed: {', '.join(keys[:20])}")
        return [keys[at] for at in find(file, keys, len(keys), reading.columns, roles)]

    frame, line = read_keys(file, text, choose)
    frame = frame.rename(dict(zip(frame.columns, roles, strict=True)))
    return Table(file, frame, tuple(header), lambda index: (file, line(index)))


def read_keys(
    file: str, text: bytes, choose: Callable[[list[str]], list[str]]
) -> tuple[pl.DataFrame, Callable[[int], int]]:
    """Read the keys that are chosen of those of the first objects, as text; and the line of the file of a row.

    Raises:
        InputError: a line is no object.
    """
    lines = itertools.islice(filter(bytes.strip, io.BytesIO(text)), SAMPLE)
    names = choose(
        list(dict.fromkeys(key for number, line in enumerate(lines, 1) for key in _keys(file, number, line)))
    )
    try:
        frame = pl.read_ndjson(io.BytesIO(text), schema=dict.fromkeys(names, pl.String))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _refusal(file, text) from error
    ends = places_of(text, b"\n")
    full = np.flatnonzero(np.append(ends, len(text)) > np.append(0, ends + 1))
    if len(frame) != len(full):
        full = np.array([i for i, line in enumerate(io.BytesIO(text)) if line.strip()])
    if len(frame) != len(full):
        raise _refusal(file, text)
    return frame.select(names), lambda index: int(full[index]) + 1


def _keys(file: str, number: int, line: bytes) -> list[str]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{file}, row {number}: no JSON object: allowed: {ALLOWED}")
    return list(content)


def _refusal(file: str, text: bytes) -> InputError:
    for number, line in enumerate(io.BytesIO(text), 1):
        if line.strip():
            try:
                _keys(file, number, line)
            except InputError as error:
                return error
    return InputError(f"{file}: not JSON lines: allowed: {ALLOWED}")
