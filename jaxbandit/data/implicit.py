"""Positives alone -> ratings 0 and 1: pairs that are not there, drawn at random, stand for what was not liked.

That is an assumption: a pair may be absent because nobody saw it. It reads nothing.
"""

import dataclasses

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.data.ratings import Ratings

SEED = 0
ROUNDS = 30  # of drawing anew what has been drawn already


def as_implicit(ratings: Ratings) -> Ratings:
    """Count each rating as 1, and for each add a 0: the same user, and an item that this user has not rated.

    Users who have rated nearly everything get fewer zeros.

    Raises:
        InputError: every user has rated every item.
    """
    count = ratings.num_items
    taken = np.sort(ratings.user.astype(np.int64) * count + ratings.item)
    rng = np.random.default_rng(SEED)
    users, drawn = ratings.user.astype(np.int64), np.empty(0, np.int64)
    for _ in range(ROUNDS):
        pairs = users * count + rng.integers(0, count, len(users))
        fresh = taken[np.minimum(np.searchsorted(taken, pairs), len(taken) - 1)] != pairs
        _, first = np.unique(pairs, return_index=True)
        once = np.zeros(len(pairs), bool)
        once[first] = True
        fresh &= once
        drawn = np.concatenate([drawn, pairs[fresh]])
        taken, users = np.sort(np.concatenate([taken, pairs[fresh]])), users[~fresh]
        if len(users) == 0:
            break
    if len(drawn) == 0:
        raise InputError(f"implicit: every user of {ratings.name} has every item; allowed: pairs that are not there")
    return dataclasses.replace(
        ratings,
        user=np.concatenate([ratings.user, (drawn // count).astype(np.int32)]),
        item=np.concatenate([ratings.item, (drawn % count).astype(np.int32)]),
        rating=np.repeat(np.array([1, 0], np.float32), [len(ratings.rating), len(drawn)]),
        low=0.0,
        high=1.0,
        truth=None,
    )
