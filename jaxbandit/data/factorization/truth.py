"""The true utilities of a generated world as factors: a bound on what a fit can reach. It fits nothing."""

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.data.factorization.canonical import canonical, with_biases
from jaxbandit.data.factorization.factors import Factors
from jaxbandit.data.ratings import Ratings


def truth(ratings: Ratings, rank_k: int = 20) -> Factors:
    """Return the utilities behind the ratings in canonical form, at their own rank (`rank_k` is not used), unclipped.

    Raises InputError for data whose utilities nobody knows.
    """
    del rank_k
    world = ratings.truth
    if world is None:
        raise InputError(
            f"factorizer 'truth': the utilities behind {ratings.name} are unknown; allowed: generated data"
        )
    parts = canonical(world.user, world.item)
    user_bias, item_bias = world.user_bias.astype(np.float64), world.item_bias.astype(np.float64)
    return with_biases(parts, user_bias, item_bias, mean=world.mean)
