"""The log of a run on disk: Parquet files of its interactions, written chunk by chunk. `log_reader` reads them.

OUT/interactions holds log.json, which says how to read them and has their digests, a file FIRST-STOP-tileN.parquet for
the rounds of each chunk, and, where arms come from a catalogue, its features in catalogue.npy. A file that log.json
does not name does not count. It simulates nothing.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TypedDict

import jax
import numpy as np
import polars as pl
from etils import epath

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes
from jaxbandit._core.fitting import misfit
from jaxbandit._core.hyperparameters import MOST
from jaxbandit.simulation.recording import Record
from jaxbandit.types import Spec

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
    files: Mapping[str, str] | None = None  # name -> SHA-256; None: written by an older jaxbandit


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
    kept = _kept_samples(directory) if resume else None
    if kept is not None and samples not in (None, kept):
        raise InputError(f"propensity_samples is {samples}, but was {kept} before; allowed: the same")
    if kept is None and log and begun:
        raise InputError(f"log_interactions is set, but {str(directory)!r} was begun without it; allowed: a new run")
    if kept is None and samples is not None and not log:
        raise InputError(f"propensity_samples is {samples} without log_interactions; allowed: both or none")
    return kept or ((samples or SAMPLES) if log else 0)


def _kept_samples(directory: epath.Path) -> int | None:
    """Read the number of draws of a run that is logged: in config.json, or in the log of an older jaxbandit."""
    config, header = directory / "config.json", directory / DIRECTORY / "log.json"
    if config.exists():
        kept = sealed.read(config, ALLOWED).get("propensity_samples")
        if kept is not None:
            if isinstance(kept, bool) or not isinstance(kept, int) or kept < 1:
                raise InputError(f"{str(config)!r} has propensity_samples {kept!r}; allowed: a whole number > 0")
            return kept
    return read_header(header).propensity_samples if header.exists() else None


class Log:
    """Writes a log."""

    def __init__(self, directory: epath.Path, header: Header) -> None:
        """Name the run's directory."""
        self.directory, self.header = directory / DIRECTORY, header

    def begin(self, catalogue: np.ndarray | None, tile: int, rounds: int) -> None:
        """Write log.json, and the features of the catalogue where there is one; keep the files of finished rounds.

        Those from `rounds` of `tile` on are deleted: they follow the last checkpoint, and are simulated again.

        Raises:
            InputError: the log of the finished rounds is gone or damaged.
        """
        files = self._finished(tile, rounds) if (tile, rounds) > (0, 0) else {}
        if self.directory.exists():
            for file, first, _, of in files_of(self.directory):
                if (of, first) >= (tile, rounds):
                    file.unlink()
        if catalogue is not None:
            buffer = io.BytesIO()
            np.save(buffer, catalogue)
            files |= self._write("catalogue.npy", buffer.getvalue())
        self._vouch_for(files)

    def _finished(self, tile: int, rounds: int) -> dict[str, str]:
        """Digests of the files of rounds before `rounds` of `tile`."""
        path = self.directory / "log.json"
        if not path.exists():
            raise InputError(f"{str(path)!r} is missing, and the log cannot go on without it; allowed: a new run")
        ours = [file.name for file, first, _, of in files_of(self.directory) if (of, first) < (tile, rounds)]
        kept = read_header(path).files
        return sealed.digests(self.directory, ours) if kept is None else {n: kept[n] for n in ours if n in kept}

    def _write(self, name: str, data: bytes) -> dict[str, str]:
        write_bytes(self.directory / name, data)
        return {name: sealed.digest(data)}

    def _vouch_for(self, files: Mapping[str, str]) -> None:
        self.header = replace(self.header, files=files)
        sealed.write(self.directory / "log.json", asdict(self.header))

    def write(self, tile: int, first: int, stop: int, seeds: np.ndarray, rows: Record) -> None:
        """Write the rounds first ... stop - 1 of the seeds [S]; `rows` are [S, n, ...], rounds modulo n.

        Raises:
            InputError: the file cannot be written.
        """
        buffer = io.BytesIO()
        at = np.arange(first, stop)
        rows = jax.tree.map(lambda x: x[:, at % x.shape[1]], rows)
        _frame(rows, seeds, at, self.header).write_parquet(buffer, compression="zstd")
        written = self._write(f"{first:010d}-{stop:010d}-tile{tile}.parquet", buffer.getvalue())
        self._vouch_for({**(self.header.files or {}), **written})


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


def files_of(place: epath.Path, vouched: Mapping[str, str] | None = None) -> Iterator[tuple[epath.Path, int, int, int]]:
    """Files of a log, those of the names that are given or all there: first round, the one after the last, tile."""
    for path in place.iterdir() if vouched is None else (place / name for name in vouched):
        if match := NAME.fullmatch(path.name):
            first, stop, tile = map(int, match.groups())
            yield path, first, stop, tile


def read_header(path: epath.Path) -> Header:
    """Read log.json.

    Raises:
        InputError: it is damaged, or none of a log.
    """
    content = sealed.read(path, ALLOWED)
    wrong = misfit({"files": None, **content}, Header)
    sized = ("rounds", "rounds_per_file", "batch_size", "seeds", "num_actions")
    if not wrong:
        low = {name: 1 if name in sized else 0 for name in (*sized, "user_dim", "arm_dim", "propensity_samples")}
        wrong = next((f"{name} is {content[name]}" for name in low if not low[name] <= content[name] <= MOST), "")
    if wrong or set(content) - {field.name for field in fields(Header)}:
        raise InputError(f"{str(path)!r} is not that of a log ({wrong or 'other entries'}); {ALLOWED}")
    return Header(**{**content, "reward_range": tuple(content["reward_range"])})
