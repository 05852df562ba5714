"""A log that no run of jaxbandit has written: a table of actions, rewards and propensities, and of users' features.

Arms are fixed and have no features: they are numbered in the order of their names.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxbandit._core.errors import InputError
from jaxbandit.data.ids import written_ids
from jaxbandit.data.named import Named, read_columns
from jaxbandit.experiments.interaction_log import Header
from jaxbandit.experiments.log_reader import Reader
from jaxbandit.types import Spec

BLOCK = 1 << 16  # interactions at a time
LARGEST = 1e6  # reward or feature; larger ones are no longer apart in float32


class LogColumns(NamedTuple):
    """Names of the columns, or column:1, column:2, ... by place."""

    action: str = "action"
    reward: str = "reward"
    propensity: str = "propensity"
    features: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class OwnLog(Reader):
    """A log in memory."""

    frame: pl.DataFrame = field(default_factory=pl.DataFrame)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the log block by block."""
        yield from self.frame.iter_slices(BLOCK)


def open_own_log(path: str, columns: LogColumns, spec: Spec | None = None) -> OwnLog:
    """Read a log; with `spec`, of a policy that was trained elsewhere, actions are its arms 0, 1, ...

    Raises:
        InputError: the file or a column cannot be read; a row is no interaction; the sizes are not those of `spec`.
    """
    names = list(dict.fromkeys([columns.action, *columns.features, columns.propensity, columns.reward]))
    if len(names) < 3 + len(columns.features):
        raise InputError(f"the columns of a log are {', '.join(names)}, with one given twice; allowed: a column each")
    table = read_columns("log", path, names, columns.reward)
    if table.frame.height < 2:
        raise InputError(f"{table.file}: {table.frame.height} interactions; allowed: at least 2")
    reward = _numbers(table, columns.reward, -LARGEST, LARGEST)
    propensity = _numbers(table, columns.propensity, 0.0, 1.0)
    if (propensity == 0).any():
        row = table.row(int((propensity == 0).argmax()))
        raise InputError(f"{row}: {columns.propensity} = 0; allowed: above 0, to 1: what was taken had a chance")
    features = [_numbers(table, name, -LARGEST, LARGEST) for name in columns.features]
    user = np.column_stack(features or [np.ones(len(reward))]).astype(np.float32)
    action, count = _actions(table, columns.action, spec)
    if spec is not None and (spec.arm_dim, spec.user_dim) != (0, user.shape[1]):
        takes = f"arms with {spec.arm_dim} features" if spec.arm_dim else f"{spec.user_dim} features of users"
        raise InputError(f"{table.file}: {user.shape[1]} features, but the policy takes {takes}; allowed: as many")
    rows = len(reward)
    header = Header(
        rounds=rows, rounds_per_file=rows, batch_size=1, seeds=1, num_actions=count, user_dim=user.shape[1], arm_dim=0,
        reward_range=(float(reward.min()), float(reward.max())), propensity_exact=True, propensity_samples=0,
    )  # fmt: skip
    numbers: dict[str, np.ndarray] = {"seed": np.zeros(rows, np.int32), "round": np.arange(rows, dtype=np.int32)}
    numbers |= {"user_id": np.zeros(rows, np.int32), "user": user, "action": action}
    frame = pl.DataFrame({**numbers, "propensity": propensity, "reward": reward.astype(np.float32)})
    return OwnLog(header, None, (), rows, frame=frame)


def _numbers(table: Named, name: str, low: float, high: float) -> np.ndarray:
    column = table.frame[name]
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count():
        numbers = column.cast(pl.String, strict=False).str.strip_chars().cast(pl.Float64, strict=False)
    values = numbers.to_numpy()
    bad = ~((values >= low) & (values <= high))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{table.row(row)}: {name} = {str(column[row])[:20]}; allowed: a number from {low:g} to {high:g}"
        )
    return values


def _actions(table: Named, name: str, spec: Spec | None) -> tuple[np.ndarray, int]:
    """Return the arms taken and their number."""
    ids = written_ids(table.frame[name], name, table.row)
    if spec is None:
        arms = ids.unique().sort()
        if len(arms) < 2:
            raise InputError(f"{table.file}: one action only ({name} = {arms[0]}); allowed: at least 2")
        return (ids.rank("dense") - 1).cast(pl.Int32).to_numpy(), len(arms)
    most = spec.num_actions - 1
    wrong = ~ids.is_between(0, most) if ids.dtype.is_integer() else pl.Series([True] * len(ids))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise InputError(f"{table.row(row)}: {name} = {ids[row]}; allowed: 0 to {most}, the arms of the policy")
    return ids.cast(pl.Int32).to_numpy(), spec.num_actions
