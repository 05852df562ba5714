"""What a sweep keeps so that no part of it is simulated twice: sums of parts that are done, and its limit of lanes.

The file parts.json has the limit, and the digests of the sums: those that it does not name do not count.
"""

import io
from collections.abc import Mapping
from typing import TypedDict, cast

import numpy as np
from etils import epath

from jaxbandit._core import processes, sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes
from jaxbandit._core.fitting import misfit

NAME, OLD_NAME = "parts.json", "max_lanes"


class Parts(TypedDict):
    """The content of parts.json."""

    max_lanes: int | None
    files: Mapping[str, str]  # name -> SHA-256


def kept_limit(max_lanes: int | None, checkpoints: epath.Path) -> int | None:
    """Keep the limit of lanes, or read that of the interrupted sweep, whose checkpoints have its shape."""

    def keep() -> np.ndarray:
        kept = _read(checkpoints)
        limit = kept["max_lanes"] if kept else max_lanes
        if max_lanes is not None and max_lanes != limit:
            raise InputError(f"max_lanes is {max_lanes}, but was {limit or 'not given'} before; allowed: the same")
        if kept is None:
            sealed.write(checkpoints / NAME, Parts(max_lanes=limit, files={}))
        return np.array(limit or 0)  # 0: none

    return int(processes.from_first(keep, lambda: np.zeros((), int))) or None


def read_sums(place: epath.Path) -> np.ndarray | None:
    """Read the sums of a part that is done, in all processes; None where it is not."""

    def shape_of() -> np.ndarray:
        parts, path = _read(place.parent), _sums_file(place)
        done = parts is not None and path.name in parts["files"] and path.exists()
        return np.array(_load(path).shape if done else (0, 0, 0, 0))

    shape = processes.from_first(shape_of, lambda: np.zeros(4, int))
    if not np.any(shape):
        return None
    sums = processes.from_first(lambda: _load(_sums_file(place)), lambda: np.zeros(shape, np.float32))
    return np.asarray(sums, np.float64)


def keep_sums(place: epath.Path, sums: np.ndarray) -> None:
    """Write the sums of a part that is done, which come from float32, and drop its checkpoints."""
    buffer, path, parts = io.BytesIO(), _sums_file(place), _read(place.parent)
    np.save(buffer, sums.astype(np.float32))
    write_bytes(path, buffer.getvalue())
    assert parts is not None, "the limit of lanes is kept before anything is simulated"
    files = {**parts["files"], path.name: sealed.digest(buffer.getvalue())}
    sealed.write(path.parent / NAME, Parts(max_lanes=parts["max_lanes"], files=files))
    if place.exists():
        place.rmtree()


def _read(checkpoints: epath.Path) -> Parts | None:
    """Read parts.json; None where the sweep has not begun.

    Raises:
        InputError: it is damaged, or the sweep was begun by an older jaxbandit.
    """
    path, way_out = checkpoints / NAME, f"allowed: delete {str(checkpoints)!r} to have all of it computed again"
    if (checkpoints / OLD_NAME).exists():
        raise InputError(f"{str(checkpoints)!r} is of an older jaxbandit, whose sums have no digests; {way_out}")
    if not path.exists():
        return None
    content = sealed.read(path, way_out, always=True)
    if wrong := misfit(content, Parts):
        raise InputError(f"{str(path)!r} is none of a sweep ({wrong}); {way_out}")
    return cast(Parts, content)


def _load(path: epath.Path) -> np.ndarray:
    parts, way_out = _read(path.parent), "delete it to have it computed again"
    data = sealed.read_beside(path, {} if parts is None else parts["files"], way_out)
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError):
        raise sealed.changed(path, way_out) from None


def _sums_file(place: epath.Path) -> epath.Path:
    return place.parent / f"{place.name}.npy"
