"""The log of a run on disk: Parquet files of its interactions, written chunk by chunk and read file by file.

OUT/interactions holds log.json, which says how to read them, a file FIRST-STOP-tileN.parquet for the rounds of each
chunk, and, where arms come from a catalogue, its features in catalogue.npy. It simulates and estimates nothing.
"""

import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np
import polars as pl
from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes, write_json
from jaxbandit.simulation.recording import Record
from jaxbandit.types import Catalogue, Context, Spec, make_catalogue

DIRECTORY = "interactions"
SAMPLES = 100
ALLOWED = "allowed: the directory of a `jaxbandit run --log-interactions`"
NAME = re.compile(r"(\d+)-(\d+)-tile(\d+)\.parquet")


@dataclass(frozen=True)
class Header:
    """The content of log.json: how the files of a log are read."""

    rounds: int
    rounds_per_file: int
    batch_size: int
    seeds: int
    num_actions: int
    user_dim: int
    arm_dim: int  # 0: arms are fixed and have no features
    reward_range: tuple[float | None, float | None]
    propensity_exact: bool
    propensity_samples: int


class Sizes(TypedDict):
    """Sizes of a spec, as JSON has them."""

    num_actions: int
    user_dim: int
    arm_dim: int
    reward_range: tuple[float | None, float | None]


def sizes(spec: Spec) -> Sizes:
    """Sizes of a spec as entries of a header. None stands for a reward range without an end: JSON has no infinity."""
    low, high = (end if math.isfinite(end) else None for end in spec.reward_range)
    return Sizes(num_actions=spec.num_actions, user_dim=spec.user_dim, arm_dim=spec.arm_dim, reward_range=(low, high))


def choose_samples(directory: epath.Path, resume: bool, begun: bool, log: bool, samples: int | None) -> int:
    """Choose how many draws estimate a propensity that the agent does not compute; 0: nothing is logged.

    A run that is resumed is logged as before. `begun`: some of its rounds are done.

    Raises:
        InputError: the run was logged with another number or not at all, or a number is given and nothing is logged.
    """
    path = directory / DIRECTORY / "log.json"
    kept = _header(path).propensity_samples if resume and path.exists() else None
    if kept is not None and samples not in (None, kept):
        raise InputError(f"propensity_samples is {samples}, but was {kept} before; allowed: the same")
    if kept is None and log and begun:
        raise InputError(f"log_interactions is set, but {str(directory)!r} was begun without it; allowed: a new run")
    if kept is None and samples is not None and not log:
        raise InputError(f"propensity_samples is {samples} without log_interactions; allowed: both or none")
    return kept or ((samples or SAMPLES) if log else 0)


class Log:
    """Writes a log."""

    def __init__(self, directory: epath.Path, header: Header) -> None:
        """Name the run's directory."""
        self.directory, self.header = directory / DIRECTORY, header

    def begin(self, catalogue: np.ndarray | None) -> None:
        """Write log.json, and the features of the catalogue where there is one."""
        if catalogue is not None:
            buffer = io.BytesIO()
            np.save(buffer, catalogue)
            write_bytes(self.directory / "catalogue.npy", buffer.getvalue())
        write_json(self.directory / "log.json", asdict(self.header))

    def forget(self, tile: int, rounds: int) -> None:
        """Delete the files of rounds that will be simulated again, since they follow the last checkpoint."""
        for path, first, _, of in _files(self.directory):
            if (of, first) >= (tile, rounds):
                path.unlink()

    def write(self, tile: int, first: int, stop: int, seeds: np.ndarray, rows: Record) -> None:
        """Write the rounds first ... stop - 1 of the seeds [S]; `rows` are [S, n, ...], rounds modulo n.

        Raises:
            InputError: the file cannot be written.
        """
        buffer = io.BytesIO()
        at = np.arange(first, stop)
        rows = jax.tree.map(lambda x: x[:, at % x.shape[1]], rows)
        _frame(rows, seeds, at, self.header).write_parquet(buffer, compression="zstd")
        write_bytes(self.directory / f"{first:010d}-{stop:010d}-tile{tile}.parquet", buffer.getvalue())


def _frame(rows: Record, seeds: np.ndarray, rounds: np.ndarray, header: Header) -> pl.DataFrame:
    """Lay out records [S, n, B, ...] as a table; arms without ids and features are 0 ... K - 1."""
    shape = rows.action.shape
    flat = {name: x.reshape(-1, *x.shape[3:]) for name, x in rows._asdict().items() if x is not None}
    there = flat["weight"] > 0  # the others' rewards were not there
    columns: dict[str, np.ndarray] = {
        "seed": np.broadcast_to(seeds[:, None, None], shape).reshape(-1).astype(np.int32),
        "round": np.broadcast_to(rounds[None, :, None], shape).reshape(-1).astype(np.int32),
        "user_id": flat["user_id"],
        "user": flat["user"],
    }
    if "arm_id" in flat:
        columns["arms"] = flat["arm_id"]
    if "arms" in flat:
        columns["arm_features"] = flat["arms"].reshape(len(there), -1)  # K x Da
    if "mask" in flat:
        columns["mask"] = flat["mask"].astype(np.uint8)
    columns |= {"action": flat["action"], "propensity": flat["propensity"]}
    columns |= {"propensity_exact": np.full(len(there), header.propensity_exact), "reward": flat["reward"]}
    return pl.DataFrame({name: np.ascontiguousarray(column[there]) for name, column in columns.items()})


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
            try:
                frame = pl.read_parquet(path.read_bytes())
            except (OSError, pl.exceptions.PolarsError) as error:
                raise _unreadable(path, error) from None
            yield frame if self.only is None else frame.filter(seed=self.only)


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
    header, files = _header(place / "log.json"), sorted(_files(place), key=lambda file: file[1:])
    ends: dict[int, int] = {}
    for path, first, stop, tile in files:
        if first != ends.get(tile, 0):
            raise InputError(
                f"{str(path)!r} begins at round {first}, but the one before it ends at {ends.get(tile, 0)}"
            )
        ends[tile] = stop
    if not files:
        raise InputError(f"log is {str(directory)!r}, in which no round is finished; {ALLOWED}")
    items = _items(place / "catalogue.npy", header.arm_dim)
    return Reader(header, items, tuple(file[0] for file in files), max(ends.values()))


def _items(path: epath.Path, arm_dim: int) -> np.ndarray | None:
    """Read the catalogue [N, Da]; None where there is none."""
    if not path.exists():
        return None
    try:
        items = np.lib.format.read_array(io.BytesIO(path.read_bytes()))
        if items.ndim != 2 or items.shape[1] != arm_dim:
            raise ValueError(f"features of shape {items.shape}, not of {arm_dim} each")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return items


def _unreadable(path: epath.Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{str(path)!r} cannot be read: {reason}; {ALLOWED}")


def _files(place: epath.Path) -> Iterator[tuple[epath.Path, int, int, int]]:
    """Files of a log: first round, the one after the last, tile."""
    for path in place.iterdir():
        if match := NAME.fullmatch(path.name):
            first, stop, tile = map(int, match.groups())
            yield path, first, stop, tile


def _header(path: epath.Path) -> Header:
    try:
        content = json.loads(path.read_text())
        return Header(**{**content, "reward_range": tuple(content["reward_range"])})
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{str(path)!r} is not that of a log; {ALLOWED}") from None
