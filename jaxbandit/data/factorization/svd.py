"""Factorisation by singular values: of the zero-filled ratings (the reference's), or of the residuals of biases.

Both fill a missing rating, by 0 or by the biases; they do not treat it as unknown, as `als` does.
"""

import numpy as np
from jaxtyping import Float

from jaxbandit._core.errors import InputError
from jaxbandit.data.factorization.factors import Factors, check_rank, fix_signs, with_biases
from jaxbandit.data.factorization.sparse_svd import Coo, sparse_svd
from jaxbandit.data.ratings import Ratings

DENSE_LIMIT = 4 * 2**30  # bytes of the float64 matrix that `svd` may form
DAMPING = 5.0  # ratings of value 0 that each bias's mean is shrunk by


def svd(ratings: Ratings, rank_k: int = 20) -> Factors:
    """Factorise the dense zero-filled matrix as TF-Agents' MovieLens environments do: R ≈ U diag(S) Vᵀ, truncated.

    Full LAPACK SVD in float64; mean 0 and no clipping, so an unrated pair is predicted near 0, outside the rating
    scale. By Eckart and Young 1936, "The Approximation of One Matrix by Another of Lower Rank",
    https://doi.org/10.1007/BF02288367, no matrix of rank `rank_k` is nearer to the zero-filled one.

    Raises:
        InputError: a rank outside 1..min(U, N), or a matrix over DENSE_LIMIT.
    """
    check_rank(ratings, rank_k)
    num_bytes = 8 * ratings.num_users * ratings.num_items
    if num_bytes > DENSE_LIMIT:
        raise InputError(
            f"factorizer 'svd' needs a dense matrix of {num_bytes / 2**30:.1f} GiB for {ratings.num_users} users x "
            f"{ratings.num_items} items: at most {DENSE_LIMIT / 2**30:.1f} GiB is allowed; use 'als' or 'residual_svd'"
        )
    dense = np.zeros((ratings.num_users, ratings.num_items))
    dense[ratings.user, ratings.item] = ratings.rating
    left, scale, right = np.linalg.svd(dense, full_matrices=False)
    user, item = fix_signs(left[:, :rank_k], right[:rank_k].T)
    return Factors(user.astype(np.float32), item.astype(np.float32), scale[:rank_k].astype(np.float32))


def damped_biases(ratings: Ratings) -> tuple[float, Float[np.ndarray, "U"], Float[np.ndarray, "N"]]:
    """Compute mu = mean r, b_i = Σ_u (r - mu) / (n_i + 5), then b_u = Σ_i (r - mu - b_i) / (n_u + 5), in float64.

    Zero where nothing is rated. Source: Koren and Bell 2011, "Advances in Collaborative Filtering", section 2.1,
    https://doi.org/10.1007/978-0-387-85820-3_5
    """
    rating = ratings.rating.astype(np.float64)
    mean = float(rating.mean())

    def damped(index: np.ndarray, rest: np.ndarray, size: int) -> np.ndarray:
        return np.bincount(index, weights=rest, minlength=size) / (np.bincount(index, minlength=size) + DAMPING)

    item_bias = damped(ratings.item, rating - mean, ratings.num_items)
    user_bias = damped(ratings.user, rating - mean - item_bias[ratings.item], ratings.num_users)
    return mean, user_bias, item_bias


def residual_svd(ratings: Ratings, rank_k: int = 10) -> Factors:
    """Factorise the residuals of damped biases: r ≈ mu + b_u + b_i + (U diag(S) Vᵀ)[u, i], clipped to the scale.

    The matrix of residuals is zero where nothing is rated, and stays sparse.

    Raises:
        InputError: a rank outside 1..min(U, N).
    """
    check_rank(ratings, rank_k)
    mean, user_bias, item_bias = damped_biases(ratings)
    residual = ratings.rating - mean - user_bias[ratings.user] - item_bias[ratings.item]
    matrix = Coo(ratings.user, ratings.item, residual, (ratings.num_users, ratings.num_items))
    parts = sparse_svd(matrix, rank_k)
    return with_biases(parts, user_bias, item_bias, mean=mean, low=ratings.low, high=ratings.high)
