"""What all factorisers share: the record that they return, its canonical form, the check of the rank, and the truth.

Fits nothing: `als` and `svd` do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxbandit._core.errors import InputError
from jaxbandit.data.ratings import Ratings


@dataclass(frozen=True, eq=False)
class Factors:
    """Approximate rating of every pair: clip(mean + sum_j user[u, j] * scale[j] * item[i, j], low, high).

    Biases, where a factoriser has them, are two more columns: (b_u, 1) of the user and (1, b_i) of the item, scale 1.
    So r is `rank_k` without and `rank_k + 2` with biases, and every reward is linear in the product user * item.
    """

    user: np.ndarray  # [U, r] float32
    item: np.ndarray  # [N, r] float32
    scale: np.ndarray  # [r] float32
    mean: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    heldout_rmse: float | None = None  # on the split by heldout.SPLIT_SEED
    truth_correlation: float | None = None  # with the true utilities over all pairs, for generated data

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Approximate ratings of pairs given as two index arrays [R], in float32."""
        score = np.einsum("rk,rk->r", self.user[user] * self.scale, self.item[item])
        return np.clip(self.mean + score, self.low, self.high)


def check_rank(ratings: Ratings, rank_k: int) -> None:
    """Refuse a rank outside 1..min(U, N).

    Raises:
        InputError: it is outside.
    """
    limit = min(ratings.num_users, ratings.num_items)
    if not 1 <= rank_k <= limit:
        raise InputError(
            f"rank_k is {rank_k}; allowed: 1 to {limit}, the smaller of the {ratings.num_users} users and "
            f"{ratings.num_items} items of {ratings.name}"
        )


def fix_signs(
    user: Float[np.ndarray, "U k"], item: Float[np.ndarray, "N k"]
) -> tuple[Float[np.ndarray, "U k"], Float[np.ndarray, "N k"]]:
    """Make the largest |entry| of each item column positive; which sign LAPACK returns depends on its build."""
    largest = np.abs(item).argmax(axis=0)
    sign = np.where(item[largest, np.arange(item.shape[1])] < 0, -1.0, 1.0)
    return user * sign, item * sign


def canonical(
    user: Float[np.ndarray, "U k"], item: Float[np.ndarray, "N k"]
) -> tuple[Float[np.ndarray, "U r"], Float[np.ndarray, "r"], Float[np.ndarray, "N r"]]:
    """Rewrite P Qᵀ as U diag(S) Vᵀ, with orthonormal columns, falling scales and fixed signs, in float64.

    A QR of each side and the SVD of the product of the two triangular factors: no matrix is larger than P and Q. r is
    min(U, N, k).
    """
    user_basis, user_rest = np.linalg.qr(user.astype(np.float64))
    item_basis, item_rest = np.linalg.qr(item.astype(np.float64))
    left, scale, right = np.linalg.svd(user_rest @ item_rest.T, full_matrices=False)
    user, item = fix_signs(user_basis @ left, item_basis @ right.T)
    return user, scale, item


def with_biases(
    parts: tuple[Float[np.ndarray, "U r"], Float[np.ndarray, "r"], Float[np.ndarray, "N r"]],
    user_bias: Float[np.ndarray, "U"],
    item_bias: Float[np.ndarray, "N"],
    *,
    mean: float,
    low: float = -np.inf,
    high: float = np.inf,
) -> Factors:
    """Build the record of a fit with biases, which become its two last columns."""
    user, scale, item = parts
    return Factors(
        user=np.column_stack([user, user_bias, np.ones_like(user_bias)]).astype(np.float32),
        item=np.column_stack([item, np.ones_like(item_bias), item_bias]).astype(np.float32),
        scale=np.append(scale, [1.0, 1.0]).astype(np.float32),
        mean=float(mean),
        low=float(low),
        high=float(high),
    )


def truth(ratings: Ratings, rank_k: int = 20) -> Factors:
    """Return the true utilities of a generated world as factors, unclipped: a bound on what a fit can reach.

    They keep their own rank; `rank_k` is ignored.

    Raises:
        InputError: data whose utilities nobody knows.
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
