"""Biased alternating least squares with weighted ridge (ALS-WR), solved in batches. It forms no dense ratings matrix.

Minimises Σ_(u,i) (r - mu - b_u - b_i - p_u·q_i)² + λ Σ_u n_u (|p_u|² + b_u²) + λ Σ_i n_i (|q_i|² + b_i²), where n
counts ratings.

Sources: Zhou, Wilkinson, Schreiber and Pan 2008, "Large-Scale Parallel Collaborative Filtering for the Netflix Prize",
https://doi.org/10.1007/978-3-540-68880-8_32 (the weighted ridge; the biases are ours). Mehta, Rendle, Krichene and
Zhang 2021, "ALX: Large Scale Matrix Factorization on TPUs", https://arxiv.org/abs/2112.02194 (the batches).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxbandit._core.errors import InputError
from jaxbandit.data.factorization.als_blocks import Block, block_size, cut
from jaxbandit.data.factorization.factors import Factors, canonical, check_rank, with_biases
from jaxbandit.data.ratings import Ratings

INIT_SEED = 0
INIT_SCALE = 0.1  # standard deviation of the first entries of q: small beside a rating, so that biases fit first


@partial(jax.jit, donate_argnames="solved")
def solve_block(
    fixed: Float[Array, "n d"], solved: Float[Array, "n d"], block: Block, ridge: Float[Array, ""]
) -> Float[Array, "n d"]:
    """Solve the normal equations of a block's rows and write them into `solved`.

    A row of either side is x = (p, b). With features z = (q, 1) and target t = r - mu - b_i of each of the row's n
    ratings, x = (Σ z zᵀ + λ n I)⁻¹ Σ z t. All of these sums, and n, are entries of the Gram matrix of (z, t).
    """
    other = fixed[block.column]
    known = (block.column >= 0).astype(other.dtype)
    target = block.rating - other[..., -1]
    z = jnp.concatenate([other[..., :-1], jnp.ones_like(target)[..., None], target[..., None]], axis=-1)
    z = z * known[..., None]
    gram = jnp.einsum("blk,blm->bkm", z, z, precision=jax.lax.Precision.HIGHEST)
    gram = jax.ops.segment_sum(gram, block.segment, num_segments=block.row.shape[0], indices_are_sorted=True)
    count = gram[:, -2, -2]
    shrink = jnp.where(count > 0, ridge * count, 1.0)  # padding: the identity, so that its solution is finite
    system = gram[:, :-1, :-1] + shrink[:, None, None] * jnp.eye(fixed.shape[1], dtype=fixed.dtype)[None]
    factor = jax.scipy.linalg.cho_factor(system, lower=True)
    solution = jax.scipy.linalg.cho_solve(factor, gram[:, :-1, -1:])[..., 0]
    return solved.at[block.row].set(solution, mode="drop")


def half_sweep(
    fixed: Float[Array, "n d"], solved: Float[Array, "n d"], blocks: list[Block], ridge: float
) -> Float[Array, "n d"]:
    """Solve all rows of one side, the other one fixed. The buffer of `solved` is reused for the result."""
    for block in blocks:
        solved = solve_block(fixed, solved, block, jnp.float32(ridge))
    return solved


def fit(
    ratings: Ratings, rank_k: int, ridge: float, sweeps: int
) -> tuple[float, Float[np.ndarray, "U d"], Float[np.ndarray, "N d"]]:
    """Return mu and the rows (p_u, b_u) and (q_i, b_i) after `sweeps` sweeps, users first; d = rank_k + 1.

    Rows without ratings are zero.
    """
    mean = float(ratings.rating.mean(dtype=np.float64))
    rest = (ratings.rating - np.float32(mean)).astype(np.float32)
    # Both sides get as many rows as the longer one, so that one compiled program serves users and items.
    num_rows = max(ratings.num_users, ratings.num_items)
    size = block_size(ratings.user, ratings.item)
    by_user = [jax.device_put(b) for b in cut(ratings.user, ratings.item, rest, num_rows, size)]
    by_item = [jax.device_put(b) for b in cut(ratings.item, ratings.user, rest, num_rows, size)]
    start = np.zeros((num_rows, rank_k + 1), np.float32)
    rated = np.unique(ratings.item)
    start[rated, :-1] = INIT_SCALE * np.random.default_rng(INIT_SEED).standard_normal((len(rated), rank_k))
    user, item = jnp.zeros_like(start), jnp.asarray(start)
    for _ in range(sweeps):
        user = half_sweep(item, user, by_user, ridge)
        item = half_sweep(user, item, by_item, ridge)
    return mean, np.asarray(user)[: ratings.num_users], np.asarray(item)[: ratings.num_items]


def als(ratings: Ratings, rank_k: int = 20, *, ridge: float = 0.1, sweeps: int = 10) -> Factors:
    """Factorise by ALS-WR: r ≈ mu + b_u + b_i + p_u·q_i, clipped to the scale, in canonical form.

    Raises:
        InputError: a rank outside 1..min(U, N), ridge <= 0 or sweeps < 1.
    """
    check_rank(ratings, rank_k)
    if not ridge > 0:
        raise InputError(f"ridge = {ridge}: must be above 0")
    if sweeps < 1:
        raise InputError(f"sweeps = {sweeps}: must be at least 1")
    mean, user, item = fit(ratings, rank_k, ridge, sweeps)
    parts = canonical(user[:, :-1], item[:, :-1])
    return with_biases(parts, user[:, -1], item[:, -1], mean=mean, low=ratings.low, high=ratings.high)
