"""Ratings and fits -> the NumPy tables of a world of ratings: what is observed, what is paid. It makes no worlds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.data import Ratings
from jaxbandit.data.factorization import Factors, factorize
from jaxbandit.data.factorization.heldout import SPLIT_SEED
from jaxbandit.data.ratings import first_items
from jaxbandit.envs.matrix_factorization.settings import RewardSettings, ViewSettings
from jaxbandit.types import Fact


class Tables(NamedTuple):
    """Arrays of U users and N items, float32."""

    user: np.ndarray  # [U, Du] observed
    item: np.ndarray  # [N, Da] observed
    user_reward: np.ndarray  # [U, r]
    item_reward: np.ndarray | None  # [N, r]; None: `item` serves, with r = Da
    mean: float
    low: float
    high: float
    activity: np.ndarray  # [U] ratings of each user
    popularity: np.ndarray  # [N] ratings of each item
    rating: np.ndarray  # [R] the ratings that were fitted
    facts: Mapping[str, Fact]


def build_tables(
    ratings: Ratings, pay: RewardSettings, view: ViewSettings, *, fixed_items: int | None = None
) -> Tables:
    """Factorise and lay out the tables; `fixed_items` keeps the first items of the data alone.

    Raises:
        InputError: more arms than items, a rank above the data's, side features that the data set does not have.
    """
    if fixed_items is not None:
        check_num_actions(ratings, fixed_items)
    observed = pay.factorizer if pay.observation == "same" else pay.observation
    if fixed_items is not None and pay.factorizer == observed == "svd":
        ratings = first_items(ratings, fixed_items)
    paid = factorize(ratings, pay.factorizer, pay.rank_k)
    seen = paid if observed == pay.factorizer else factorize(ratings, observed, pay.rank_k)
    standardize = observed != "svd" if view.standardize is None else view.standardize
    count = slice(None, fixed_items)
    user, item = (seen.user * np.sqrt(seen.scale), seen.item) if fixed_items else (seen.user, seen.item)
    user_rms, item_rms = (_rms(x) if standardize else np.ones(x.shape[1], x.dtype) for x in (user, item))
    user_reward, item_reward = paid.user * paid.scale, paid.item[count]
    user, item = user / user_rms, item[count] / item_rms
    if view.side_features:
        user, item = _append(user, ratings, "user_features"), _append(item, ratings, "item_features", count)
    if seen is paid:
        extra = item.shape[1] - item_reward.shape[1]
        user_reward = np.pad(user_reward * item_rms, ((0, 0), (0, extra)))
    return Tables(
        user=_contiguous(user),
        item=_contiguous(item),
        user_reward=_contiguous(user_reward),
        item_reward=None if seen is paid else _contiguous(item_reward),
        mean=paid.mean,
        low=paid.low,
        high=paid.high,
        activity=np.bincount(ratings.user, minlength=len(user)),
        popularity=np.bincount(ratings.item, minlength=ratings.num_items)[count],
        rating=ratings.rating,
        facts={**_facts(paid, pay.factorizer), **({} if seen is paid else {"observation": _facts(seen, observed)})},
    )


def check_num_actions(ratings: Ratings, num_actions: int) -> None:
    """Raise InputError for more arms than items."""
    if num_actions > ratings.num_items:
        raise InputError(
            f"num_actions is {num_actions}; {ratings.name} has {ratings.num_items} items: "
            f"allowed: 2 to {ratings.num_items}"
        )


def _facts(factors: Factors, factorizer: str) -> dict[str, str | int | float]:
    """Say how well the fit predicts what it has not seen."""
    facts: dict[str, str | int | float] = {"factorizer": factorizer, "columns": len(factors.scale)}
    if factors.heldout_rmse is not None:
        facts |= {"heldout_rmse": factors.heldout_rmse, "heldout_split": f"random 10%, seed {SPLIT_SEED}"}
    if factors.truth_correlation is not None:
        facts["truth_correlation"] = factors.truth_correlation
    return facts


def _rms(columns: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(columns.astype(np.float64) ** 2, axis=0))
    return np.where(rms > 0, rms, 1).astype(np.float32)


def _append(columns: np.ndarray, ratings: Ratings, side: str, rows: slice = slice(None)) -> np.ndarray:
    """Append side features with mean 0 and standard deviation 1."""
    extra = getattr(ratings, side)
    if extra is None:
        if ratings.user_features is None and ratings.item_features is None:
            raise InputError(f"side_features is true, but {ratings.name} has none; allowed: false")
        return columns
    spread = extra.std(axis=0)
    scaled = (extra - extra.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.concatenate([columns, scaled[rows].astype(np.float32)], axis=1)


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)
