"""The part of a data set that the reference's fixed-arm environment keeps. It factorises nothing."""

from dataclasses import replace

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.data.ratings import Ratings


def first_items(ratings: Ratings, num_items: int) -> Ratings:
    """Keep the first `num_items` items and the users with a rating among them, in order and re-indexed.

    As TF-Agents' MovieLensPyEnvironment does. Raises InputError for more items than the data's, or fewer than one, and
    where nobody rated one of them.
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
