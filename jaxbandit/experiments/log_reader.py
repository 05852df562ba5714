"""The log of a run read back, file by file, as contexts, actions and rewards. It estimates nothing."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from etils import epath

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit.experiments.interaction_log import ALLOWED, DIRECTORY, Header, files_of, read_header
from jaxbandit.types import Catalogue, Context, make_catalogue


class Rows(NamedTuple):
    """Interactions of a file; users and arms as agents see them."""

    context: Context
    seed: np.ndarray
    round: np.ndarray
    action: np.ndarray
    propensity: np.ndarray
    reward: np.ndarray
    items: np.ndarray | None  # features of the catalogue, [N, Da]

    def offered(self, at: np.ndarray) -> np.ndarray | None:
        """Features of the arms that some users are offered, [n, K, Da]; of a whole catalogue [1, N, Da]."""
        if self.items is None:
            return None if self.context.arms is None else np.asarray(self.context.arms)[at]
        return self.items[None] if self.context.arm_id is None else self.items[np.asarray(self.context.arm_id)[at]]

    def taken(self) -> np.ndarray | None:
        """Features of the arms that were taken, [n, Da]."""
        at = np.arange(len(self.action)), self.action
        if self.items is None:
            return None if self.context.arms is None else np.asarray(self.context.arms)[at]
        return self.items[self.action if self.context.arm_id is None else np.asarray(self.context.arm_id)[at]]


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads a log."""

    header: Header
    catalogue: np.ndarray | None
    files: tuple[epath.Path, ...]
    rounds: int  # that are there; fewer than the header's where the run was interrupted
    only: int | None = None  # seed of which rows are read; None: of all

    def rows(self) -> Iterator[Rows]:
        """Read file after file, contexts as agents saw them.

        Raises:
            InputError: one is damaged, or the catalogue of its arms is missing.
        """
        catalogue = None
        if self.catalogue is not None:
            catalogue = make_catalogue(self.catalogue)
        for frame in self.frames():
            if self.header.arm_dim and catalogue is None and "arm_features" not in frame.columns:
                raise InputError(f"the log lacks catalogue.npy, the features of its arms; {ALLOWED}")
            yield _rows(frame, self.header, self.catalogue, catalogue)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Read file after file.

        Raises:
            InputError: one is damaged.
        """
        for path in self.files:
            data = sealed.read_beside(path, self.header.files, ALLOWED)
            try:
                frame = pl.read_parquet(data)
                if self.header.files is None:
                    _check(frame, self.header)
            except (ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise _unreadable(path, error) from None
            yield frame if self.only is None else frame.filter(seed=self.only)


def _check(frame: pl.DataFrame, header: Header) -> None:
    """Raise ValueError where a file of an older jaxbandit, which has no digest, cannot be one of this log."""
    numbers = {name: frame[name].to_numpy() for name in ("seed", "round", "action", "propensity", "reward")}
    most = {"seed": header.seeds, "round": header.rounds, "action": header.num_actions}
    for name, values in numbers.items():
        if not np.all(np.isfinite(values)) or (np.any(values < 0) and name != "reward"):
            raise ValueError(f"{name} is negative or no number")
        if name in most and np.any(values >= most[name]):
            raise ValueError(f"{name} is {values.max()}, of {most[name]}")
    if np.any(numbers["propensity"] > 1) or np.any(numbers["propensity"] == 0):
        raise ValueError("propensity is not in (0, 1]")


def _rows(frame: pl.DataFrame, header: Header, items: np.ndarray | None, catalogue: Catalogue | None) -> Rows:
    column = {name: frame[name].to_numpy() for name in frame.columns}
    arms = column["arm_features"].reshape(len(frame), -1, header.arm_dim) if "arm_features" in column else None
    mask = column["mask"].astype(bool) if "mask" in column else None
    seen: tuple[Any, ...] = (column["user"], column["user_id"], arms, column.get("arms"), catalogue, mask)
    numbers: dict[str, np.ndarray] = {
        name: column[name] for name in ("seed", "round", "action", "propensity", "reward")
    }
    return Rows(Context(*seen), items=items, **numbers)


def open_log(directory: epath.Path) -> Reader:
    """Find the files of a log.

    Raises:
        InputError: there is no log, rounds are missing in it, or its catalogue is damaged.
    """
    place = directory / DIRECTORY
    if not (place / "log.json").exists():
        raise InputError(f"log is {str(directory)!r}, which holds no logged interactions; {ALLOWED}")
    header = read_header(place / "log.json")
    files = sorted(files_of(place, header.files), key=lambda file: file[1:])
    ends: dict[int, int] = {}
    for path, first, stop, tile in files:
        if first != ends.get(tile, 0):
            raise InputError(
                f"{str(path)!r} begins at round {first}, but the one before it ends at {ends.get(tile, 0)}"
            )
        ends[tile] = stop
    if not files:
        raise InputError(f"log is {str(directory)!r}, in which no round is finished; {ALLOWED}")
    items = _items(place / "catalogue.npy", header)
    return Reader(header, items, tuple(file[0] for file in files), max(ends.values()))


def _items(path: epath.Path, header: Header) -> np.ndarray | None:
    """Read the catalogue [N, Da]; None where there is none."""
    if (header.files is None and not path.exists()) or (header.files is not None and path.name not in header.files):
        return None
    data = sealed.read_beside(path, header.files, ALLOWED)
    try:
        items = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        if items.ndim != 2 or items.shape[1] != header.arm_dim or items.dtype != np.float32:
            raise ValueError(f"{items.dtype} of shape {items.shape}, not features of {header.arm_dim} numbers each")
        if not np.all(np.isfinite(items)):
            raise ValueError("features that are not finite")
    except (ValueError, MemoryError) as error:
        raise _unreadable(path, error) from None
    return items


def _unreadable(path: epath.Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{str(path)!r} cannot be read: {reason}; {ALLOWED}")
