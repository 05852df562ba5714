"""The record that every reader returns: ratings of some <user, item> pairs as arrays. It reads no file."""

from dataclasses import dataclass, field, replace

import numpy as np

from jaxbandit._core.errors import InputError


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
    """R ratings of U users and N items in coordinate form; ids become 0..U-1 and 0..N-1 in their sorted order.

    Every user has a rating, and so has every item, except those that a data set lists although nobody rated them. Side
    features are raw columns, a row per user or item; who uses them scales them.
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


def first_items(ratings: Ratings, num_items: int) -> Ratings:
    """Keep the first `num_items` items and the users with a rating among them, in order and re-indexed.

    So does the environment with fixed arms of TF-Agents,
    https://github.com/tensorflow/agents/blob/master/tf_agents/bandits/environments/movielens_py_environment.py

    Raises:
        InputError: more items than there are, fewer than one, or nobody rated one of them.
    """
    if not 1 <= num_items <= ratings.num_items:
        raise InputError(f"num_actions is {num_items}; allowed: 1 to {ratings.num_items}, the items of {ratings.name}")
    kept = ratings.item < num_items
    users, user = np.unique(ratings.user[kept], return_inverse=True)
    if len(users) == 0:
        raise InputError(
            f"num_actions is {num_items}; nobody in {ratings.name} rated one of the first {num_items} items"
        )
    features, item_features, world = ratings.user_features, ratings.item_features, ratings.truth
    if world is not None:
        world = replace(
            world,
            user_bias=world.user_bias[users],
            item_bias=world.item_bias[:num_items],
            user=world.user[users],
            item=world.item[:num_items],
        )
    return replace(
        ratings,
        user=user.astype(np.int32),
        item=ratings.item[kept],
        rating=ratings.rating[kept],
        user_ids=ratings.user_ids[users],
        item_ids=ratings.item_ids[:num_items],
        user_features=None if features is None else features[users],
        item_features=None if item_features is None else item_features[:num_items],
        truth=world,
    )
