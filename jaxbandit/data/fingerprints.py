"""Fingerprints of what was read from files: the content, not the path or the time. A changed file has another one.

Whoever reads a file within the block of `noted` has its fingerprint noted there. Arrays are hashed as readers return
them, which costs little beside the reading, and tells a file from one that is laid out otherwise and says the same.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from jaxbandit.data.labelled import Labelled
from jaxbandit.data.ratings import Ratings
from jaxbandit.data.synthetic import WORLDS

_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)


@contextmanager
def noted() -> Iterator[dict[str, str]]:
    """Yield the fingerprints, by path and by how it is read, of all that is read in the block."""
    found: dict[str, str] = {}
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def note(path: str, content: Ratings | Labelled, **options: object) -> None:
    """Note the fingerprint of what was read at a path with these options. Generated ratings have no file."""
    found = _noted.get()
    if found is not None and path not in WORLDS:
        given = (f" {name}={value}" for name, value in sorted(options.items()) if value is not None)
        found[path + "".join(given)] = fingerprint(content)


def fingerprint(content: Ratings | Labelled) -> str:
    """Hash all that numbers can depend on: of ratings also their ids, scale and side features."""
    digest = hashlib.sha256()
    for array in _arrays(content):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(content: Ratings | Labelled) -> Iterator[np.ndarray]:
    if isinstance(content, Labelled):
        yield from (content.features, content.label)
        return
    yield from (content.user, content.item, content.rating, np.array([content.low, content.high], np.float64))
    for ids in (content.user_ids, content.item_ids):
        yield np.char.encode(ids.astype(str), "utf-8", "surrogateescape")
    yield from (x for x in (content.user_features, content.item_features) if x is not None)
