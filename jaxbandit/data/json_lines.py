"""JSON lines, an object in each, as Amazon and Yelp publish ratings -> a table. Polars reads them."""

import io
import itertools
import json

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.columns import find, place
from jaxbandit.data.tables import Reading, Table
from jaxbandit.data.text import places_of

SAMPLE = 100  # objects whose keys are the columns
ALLOWED = 'an object in each line, as {"user": 1, "item": 2, "rating": 3}'


def read_json_lines(file: str, text: bytes, reading: Reading) -> Table:
    """Read the keys of the roles.

    Raises:
        InputError: a line is no object, or a key is not found.
    """
    roles = reading.roles
    lines = itertools.islice(filter(bytes.strip, io.BytesIO(text)), SAMPLE)
    header = tuple(dict.fromkeys(key for number, line in enumerate(lines, 1) for key in _keys(file, number, line)))
    if any(place(name) is not None for name in reading.columns):
        raise InputError(f"{file}: JSON lines have no places: allowed: {', '.join(header[:20])}")
    names = [header[at] for at in find(file, header, len(header), reading.columns, roles)]
    try:
        frame = pl.read_ndjson(io.BytesIO(text), schema=dict.fromkeys(names, pl.String))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _refusal(file, text) from error
    ends = places_of(text, b"\n")
    starts = np.append(0, ends + 1)
    full = np.flatnonzero(np.append(ends, len(text)) > starts)
    if len(frame) != len(full):
        full = np.array([i for i, line in enumerate(io.BytesIO(text)) if line.strip()])
    if len(frame) != len(full):
        raise _refusal(file, text)
    frame = frame.select(pl.col(name).alias(role) for name, role in zip(names, roles, strict=True))
    return Table(file, frame, header, lambda index: (file, int(full[index]) + 1))


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
