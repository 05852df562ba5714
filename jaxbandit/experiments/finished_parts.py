"""What a sweep keeps so that no part of it is simulated twice: sums of parts that are done, and its limit of lanes."""

import io

import numpy as np
from etils import epath

from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes


def kept_limit(max_lanes: int | None, path: epath.Path) -> int | None:
    """Keep the limit of lanes, or read that of the interrupted sweep, whose checkpoints have its shape."""

    def keep() -> np.ndarray:
        kept = int(path.read_text()) if path.exists() else max_lanes or 0  # 0: none
        if max_lanes is not None and max_lanes != kept:
            raise InputError(f"max_lanes is {max_lanes}, but was {kept or 'not given'} before; allowed: the same")
        write_bytes(path, str(kept).encode())
        return np.array(kept)

    return int(processes.from_first(keep, lambda: np.zeros((), int))) or None


def read_sums(place: epath.Path) -> np.ndarray | None:
    """Read the sums of a part that is done, in all processes; None where it is not."""
    path = _sums_file(place)

    def shape_of() -> np.ndarray:
        return np.array(_load(path).shape if path.exists() else (0, 0, 0, 0))

    shape = processes.from_first(shape_of, lambda: np.zeros(4, int))
    if not np.any(shape):
        return None
    return np.asarray(processes.from_first(lambda: _load(path), lambda: np.zeros(shape, np.float32)), np.float64)


def _load(path: epath.Path) -> np.ndarray:
    try:
        return np.load(io.BytesIO(path.read_bytes()))
    except (ValueError, EOFError):
        raise InputError(f"{str(path)!r} is damaged; delete it to have it computed again") from None


def keep_sums(place: epath.Path, sums: np.ndarray) -> None:
    """Write the sums of a part that is done, which come from float32, and drop its checkpoints."""
    buffer = io.BytesIO()
    np.save(buffer, sums.astype(np.float32))
    write_bytes(_sums_file(place), buffer.getvalue())
    if place.exists():
        place.rmtree()


def _sums_file(place: epath.Path) -> epath.Path:
    return place.parent / f"{place.name}.npy"
