"""Inverse Cholesky factor of one symmetric positive definite matrix, also where rounding has made it indefinite.

What remains of a diagonal element M_ii after the columns before, d_i, bounds all that is left of its row:
S_ij^2 <= d_i d_j. Below about eps M_ii it is nothing but noise. So each S_ij is held within that bound, less the noise:
exact arithmetic never meets it, and features that repeat each other end in no nan, whatever the ridge.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxbandit._core import platforms
from jaxbandit._core.batching import all_at_once
from jaxbandit._core.integers import ceil_div
from jaxbandit._core.linalg import einsum
from jaxbandit.types import Traced

LOOP_DIM = 64  # up to here one loop of d row sweeps; larger matrices are halved
NOISE = 4.0  # of a diagonal element, in units of its last place
WIDE, BLOCK, VECTOR = 48, 128, 16  # matrices: from here on side by side, so many of them, a multiple of so many


def inverse_cholesky(matrix: Float[Array, "d d"], least: Traced = 0.0) -> Float[Array, "d d"]:
    """Inverse L^-1 of the Cholesky factor of one symmetric positive definite matrix, from its lower triangle.

    No eigenvalue of it is below `least`, hence no pivot; one that rounding has put there is raised to it.
    Small ones by a loop of row sweeps, large ones by halves: all work is sweeps and matrix products, which vmap makes
    wide, where LAPACK would take one matrix after the other.
    """
    noise = NOISE * jnp.finfo(matrix.dtype).eps * jnp.diagonal(matrix)
    return _whiten(matrix, noise, jnp.maximum(noise, least))


def _whiten(matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]) -> Float[Array, "d d"]:
    """Inverse Cholesky factor of what is left of a matrix, with the noise and the least pivot of every row."""
    dim = matrix.shape[0]
    if dim <= LOOP_DIM:
        return jnp.tril(platforms.choose(_sweep, tpu=_sweep_on_tpu, cuda=_sweep_unrolled)(matrix, noise, least))
    return platforms.choose(_halved, cuda=_by_library)(matrix, noise, least)


def _halved(matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]) -> Float[Array, "d d"]:
    half, dim = matrix.shape[0] // 2, matrix.shape[0]
    first = _whiten(matrix[:half, :half], noise[:half], least[:half])
    below = _limited(einsum("ij,kj->ik", matrix[half:, :half], first), matrix, first, noise)  # L21
    second = _whiten(matrix[half:, half:] - einsum("ij,kj->ik", below, below), noise[half:], least[half:])
    corner = -einsum("ij,jk,kl->il", second, below, first)
    return jnp.block([[first, jnp.zeros((half, dim - half), matrix.dtype)], [corner, second]])


def _by_library(
    matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]
) -> Float[Array, "d d"]:
    """Factorise by the platform's library, and once more with a larger diagonal, which serves where that gave nan.

    Halves of halves would be a thousand kernels on a GPU. What is added is d times the noise of each row, more than
    rounding can make any eigenvalue negative by.
    """

    def whiten(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
        factor = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
        one = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
        return jax.lax.linalg.triangular_solve(factor, one, left_side=True, lower=True)

    first, second = whiten(matrix), whiten(matrix + jnp.diag(matrix.shape[0] * noise))
    return jnp.where(jnp.all(jnp.isfinite(first)), first, second)


def _limited(
    below: Float[Array, "n m"], matrix: Float[Array, "d d"], first: Float[Array, "m m"], noise: Float[Array, " d"]
) -> Float[Array, "n m"]:
    """Hold the entries of L21 within their bounds, column after column: a row gives no more than it has."""
    half = first.shape[0]
    most = (jnp.diagonal(matrix) - noise)[half:, None]
    square = below * below
    before = einsum("ij,jk->ik", square, jnp.triu(jnp.ones((half, half), matrix.dtype), 1))
    trust = jnp.maximum(1 - noise[:half] * jnp.diagonal(first) ** 2, 0.0)  # 0 where the pivot was noise
    limit = jnp.sqrt(jnp.maximum(most - before, 0.0) * trust[None])
    return jnp.clip(below, -limit, limit)


def _sweep(matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]) -> Float[Array, "d d"]:
    """Sweep in a loop, which is compiled soonest; side by side with all lanes and models."""
    return _sweep_all(matrix[None], noise[None], least[None])[0]


@all_at_once
def _sweep_all(
    matrix: Float[Array, "n d d"], noise: Float[Array, "n d"], least: Float[Array, "n d"]
) -> Float[Array, "n d d"]:
    """Sweep few matrices one after the other; of many, as many as stay in the cache with equal elements side by side.

    Rows of a matrix are too short for a CPU's vectors: XLA unrolls loops of up to 32 turns in place of using them.
    """
    number, sweep = matrix.shape[0], partial(_eliminate, unroll=1)
    if number < WIDE:
        return jax.vmap(sweep)(matrix, noise, least)
    blocks = ceil_div(number, BLOCK)
    size = ceil_div(ceil_div(number, blocks), VECTOR) * VECTOR

    def block(part: tuple[Array, ...]) -> Float[Array, "n d d"]:
        return jnp.moveaxis(sweep(*(jnp.moveaxis(x, 0, -1) for x in part)), -1, 0)

    def filled(x: Array) -> Array:
        full = jnp.pad(x, ((0, blocks * size - number), *((0, 0),) * (x.ndim - 1)), mode="wrap")
        return full.reshape(blocks, size, *x.shape[1:])

    done = jax.lax.map(block, jax.tree.map(filled, (matrix, noise, least)))
    return done.reshape(-1, *matrix.shape[1:])[:number]


def _eliminate(
    matrix: Float[Array, "d d *n"], noise: Float[Array, "d *n"], least: Float[Array, "d *n"], unroll: int
) -> Float[Array, "d d *n"]:
    """Eliminate [M | I] column after column in place: a finished column of M makes room for one of L^-1.

    Divisions by the root are not shared, so that compilers keep both vectors instead of computing them anew for each
    element of `a`, which then is changed in place.
    """
    tiny = jnp.finfo(matrix.dtype).tiny

    def eliminate(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        a, left = carry
        index = jnp.arange(a.shape[0], dtype=jnp.int32).reshape(-1, *(1,) * (a.ndim - 2))
        row, column = a[j], a[:, j]
        spare = jnp.maximum(left - noise, 0.0)
        excess = jnp.maximum(column * column / jnp.maximum(spare * spare[j][None], tiny), 1.0)
        root = jnp.sqrt(jnp.maximum(left[j], least[j])[None] * jnp.where(index > j, excess, 1.0))
        row = jnp.where(index == j, 1.0, row) / root
        below = column / root
        after = jnp.where(index[None] == j, 0.0, a) - below[:, None] * row[None]
        a = jnp.where(index[:, None] == j, row[None], jnp.where(index[:, None] < j, a, after))
        return a, left - below * below

    start = matrix, jnp.moveaxis(jnp.diagonal(matrix), -1, 0)
    return jax.lax.fori_loop(0, matrix.shape[0], eliminate, start, unroll=unroll)[0]


def _sweep_unrolled(
    matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]
) -> Float[Array, "d d"]:
    """Sweep without a loop, of which a GPU would launch each turn on its own: the same numbers in fewer kernels."""
    return _eliminate(matrix, noise, least, unroll=matrix.shape[0])


def _sweep_on_tpu(
    matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]
) -> Float[Array, "d d"]:
    """Sweep many matrices at once, as the vector units of a TPU want it."""
    from jaxbandit.agents.models import cholesky_tpu  # Pallas, which takes a while to import

    return cholesky_tpu.sweep_all(matrix[None], noise[None], least[None])[0]
