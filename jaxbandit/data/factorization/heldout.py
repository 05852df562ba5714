"""How good factors are: error on held-out ratings, agreement with a known truth. It chooses no settings by that."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from jaxbandit.data.factorization.factors import Factors
from jaxbandit.data.ratings import Ratings, Truth

SPLIT_SEED = 0  # of the random split that every reported held-out RMSE is measured on
HELDOUT_SHARE = 0.1
PAIRS_AT_ONCE = 2**20  # limits a block of predictions to about 10 MB

Factorizer = Callable[[Ratings, int], Factors]


def split(ratings: Ratings) -> tuple[Ratings, Ratings]:
    """Split into 90% to fit on and 10% held out, at random by SPLIT_SEED; users and items keep their index."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(ratings.rating))
    num_heldout = max(1, int(HELDOUT_SHARE * len(order)))

    def part(index: np.ndarray) -> Ratings:
        return replace(ratings, user=ratings.user[index], item=ratings.item[index], rating=ratings.rating[index])

    return part(order[num_heldout:]), part(order[:num_heldout])


def rmse(factors: Factors, ratings: Ratings) -> float:
    """Compute sqrt(mean (r - prediction)²) over the ratings, in stars."""
    total = 0.0
    for begin in range(0, len(ratings.rating), PAIRS_AT_ONCE):
        part = slice(begin, begin + PAIRS_AT_ONCE)
        error = ratings.rating[part] - factors.predict(ratings.user[part], ratings.item[part]).astype(np.float64)
        total += float(error @ error)
    return float(np.sqrt(total / len(ratings.rating)))


def heldout_rmse(fit: Factorizer, ratings: Ratings, rank_k: int) -> float | None:
    """Fit on 90% of the ratings and return the error on the rest; None where there is a single rating."""
    if len(ratings.rating) < 2:
        return None
    train, heldout = split(ratings)
    return rmse(fit(train, rank_k), heldout)


def _all_pairs(factors: Factors, world: Truth) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield predictions and true utilities of all pairs, a block of users at a time, both less the true mean."""
    num_users, num_items = len(factors.user), len(factors.item)
    step = max(1, PAIRS_AT_ONCE // num_items)
    scaled = factors.user * factors.scale
    for begin in range(0, num_users, step):
        part = slice(begin, begin + step)
        score = np.clip(factors.mean + scaled[part] @ factors.item.T, factors.low, factors.high)
        utility = world.user_bias[part, None] + world.item_bias + world.user[part] @ world.item.T
        yield score.ravel().astype(np.float64) - world.mean, utility.ravel().astype(np.float64)


def truth_correlation(factors: Factors, world: Truth) -> float | None:
    """Compute the correlation of prediction and true utility over all U N pairs; None where either is constant."""
    count, first, second = 0, np.zeros(2), np.zeros((2, 2))
    for pairs in _all_pairs(factors, world):
        block = np.stack(pairs)
        count += block.shape[1]
        first += block.sum(axis=1)
        second += block @ block.T
    covariance = second / count - np.outer(first, first) / count**2
    spread = covariance[0, 0] * covariance[1, 1]
    return float(covariance[0, 1] / np.sqrt(spread)) if spread > 0 else None
