"""Factors kept on disk, by a hash of ratings and settings. Where it cannot be read or written, nothing is kept."""

import contextlib
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes
from jaxbandit.data.download import cache_dir
from jaxbandit.data.factorization.factors import Factors
from jaxbandit.data.ratings import Ratings

VERSION = 1  # raise it when a factoriser computes something else, or the record changes
ARRAYS = ("user", "item", "scale")
NUMBERS = ("mean", "low", "high", "heldout_rmse", "truth_correlation")  # None is stored as NaN


def directory() -> Path:
    """Return where factors are kept: the folder `factors` of `cache_dir`."""
    return cache_dir() / "factors"


def key(ratings: Ratings, **settings: object) -> str:
    """Hash everything that the factors depend on: not the name of the data, and no side features."""
    scalars = {"version": VERSION, "shape": (ratings.num_users, ratings.num_items), **settings}
    scalars |= {"low": ratings.low, "high": ratings.high}
    arrays = [ratings.user, ratings.item, ratings.rating]
    if world := ratings.truth:
        scalars |= {"truth": world.mean}
        arrays += [world.user_bias, world.item_bias, world.user, world.item]
    digest = hashlib.sha256(repr(sorted(scalars.items())).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load(name: str) -> Factors | None:
    """Return the factors kept under a key, or None where there are none that can be read."""
    try:
        # Opened here: numpy leaves a file open that it cannot read.
        with open(directory() / f"{name}.npz", "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {field: stored[field] for field in ARRAYS}
            values = np.asarray(stored["numbers"], dtype=np.float64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    rank = arrays["scale"].shape
    fits = len(rank) == 1 and all(arrays[side].shape[1:] == rank for side in ("user", "item"))
    if not fits or len(values) != len(NUMBERS):
        return None
    numbers = {field: None if np.isnan(value) else float(value) for field, value in zip(NUMBERS, values, strict=True)}
    return Factors(**arrays, **numbers)  # type: ignore[arg-type]


def store(name: str, factors: Factors) -> None:
    """Keep factors under a key, or do nothing where the directory cannot be written."""
    values = [getattr(factors, field) for field in NUMBERS]
    numbers = np.array([np.nan if value is None else value for value in values])
    content = io.BytesIO()
    np.savez(content, **{field: getattr(factors, field) for field in ARRAYS}, numbers=numbers)
    with contextlib.suppress(InputError):
        write_bytes(directory() / f"{name}.npz", content.getvalue())
