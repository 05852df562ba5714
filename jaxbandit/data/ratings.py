"""The record that every reader returns: ratings of some <user, item> pairs as arrays. It reads nothing itself."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Truth:
    """The utilities behind a generated data set: mean + user_bias[u] + item_bias[i] + user[u] . item[i]."""

    mean: float
    user_bias: np.ndarray  # [U] float32
    item_bias: np.ndarray  # [N] float32
    user: np.ndarray  # [U, k] float32
    item: np.ndarray  # [N, k] float32


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings in coordinate form, ids re-indexed to 0..U-1 and 0..N-1 in the order of the original ids.

    R ratings of U users and N items. Every user and every item has at least one rating, but for items that a data
    set lists and nobody rated. Side features are raw columns, one row per user or item; consumers scale them.
    """

    name: str
    user: np.ndarray  # [R] int32
    item: np.ndarray  # [R] int32
    rating: np.ndarray  # [R] float32
    user_ids: np.ndarray  # [U] original ids
    item_ids: np.ndarray  # [N] original ids
    low: float  # the rating scale
    high: float
    user_features: np.ndarray | None = None  # [U, Fu] float32: age, gender, one-hot occupation
    item_features: np.ndarray | None = None  # [N, Fi] float32: genre flags
    user_feature_names: tuple[str, ...] = field(default=())
    item_feature_names: tuple[str, ...] = field(default=())
    truth: Truth | None = None

    @property
    def num_users(self) -> int:
        """Number of users, U."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Number of items, N."""
        return len(self.item_ids)
