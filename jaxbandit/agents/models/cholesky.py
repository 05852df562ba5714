"""Inverse Cholesky factor of one symmetric positive definite matrix, also where rounding has made it indefinite.

What columns have left of a diagonal element M_ii, d_i, bounds what is left of its row: S_ij^2 <= d_i d_j, less the
noise of both. Each S_ij is held within that bound, which exact arithmetic never meets, so that features that depend on
each other end in no nan. Columns that take more than there is leave d_i < 0: then |d_i| tells how large the noise is,
which is worse than the last place of M_ii in sums of many rounds, and the row takes and gives nothing any more.
"""

from collections.abc import Callable
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
SUMMED = 2.0**-6  # of a diagonal element: noise after 100,000 sums that are rounded alike
CACHED = 2**15  # numbers of a matrix, from which on it has the cache of a CPU to itself
MOST = 1e30  # by which an element is divided that should be zero
WIDE, BLOCK, VECTOR = 48, 128, 16  # matrices: from here on side by side, so many of them, a multiple of so many


def inverse_cholesky(matrix: Float[Array, "d d"], least: Traced = 0.0) -> Float[Array, "d d"]:
    """Inverse L^-1 of the Cholesky factor of one symmetric positive definite matrix.

    No eigenvalue of it is below `least`, hence no pivot; one that rounding has put there is raised to it.
    Small ones by a loop of row sweeps, large ones by blocks: all work is sweeps and matrix products, which vmap makes
    wide, where LAPACK would take one matrix after the other.
    """
    noise = NOISE * jnp.finfo(matrix.dtype).eps * jnp.diagonal(matrix)
    least = jnp.maximum(noise, least)
    if matrix.shape[0] <= LOOP_DIM:
        return _positive(_whiten(matrix, noise, least))
    blocks = jax.custom_batching.sequential_vmap(_by_blocks) if matrix.size >= CACHED else _by_blocks
    return platforms.choose(blocks, tpu=_by_blocks, cuda=_by_library)(matrix, noise, least)


def _whiten(matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]) -> Float[Array, "d d"]:
    """Inverse Cholesky factor of what is left of a small matrix, with the noise and the least pivot of every row.

    Elements of its diagonal are negative where the pivot was noise.
    """
    return jnp.tril(platforms.choose(_sweep, tpu=_sweep_on_tpu, cuda=_sweep_unrolled)(matrix, noise, least))


def _positive(whitener: Float[Array, "d d"]) -> Float[Array, "d d"]:
    return jnp.where(jnp.eye(whitener.shape[0], dtype=bool), jnp.abs(whitener), whitener)


def _by_blocks(
    matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]
) -> Float[Array, "d d"]:
    """Eliminate [M | I] in place, as `_eliminate` does, block after block of columns: a loop is compiled once."""
    dim = matrix.shape[0]
    count = ceil_div(dim, LOOP_DIM)
    size = ceil_div(dim, count)
    rest = count * size - dim
    noise, least = (jnp.pad(x, (0, rest)) for x in (noise, least))
    left = jnp.pad(jnp.diagonal(matrix), (0, rest), constant_values=1.0)
    column = jnp.arange(dim + rest, dtype=jnp.int32)[None]

    def eliminate(block: int | Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        a, left = carry
        here = _rows(block, size)
        diagonal = jnp.where(jnp.eye(size, dtype=bool), here(left)[:, None], here(here(a).T).T)
        signed = _whiten(diagonal, here(noise), here(least))
        whitener, root = _positive(signed), jnp.diagonal(signed)
        trust = jnp.where(root > 0, jnp.maximum(1 - here(noise) * root**2, 0.0), 0.0)
        inside = (column >= block * size) & (column < (block + 1) * size)
        identity = (column == here(column.T)).astype(a.dtype)
        inverse = einsum("ij,jk->ik", whitener, jnp.where(column < block * size, here(a), identity))

        def below(other: int | Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            a, left, taken = carry
            there = _rows(other, size)
            rows = there(a)
            factor = einsum("ij,kj->ik", here(rows.T).T, whitener)
            factor, rest = _within(factor, trust, there(left), there(noise))
            taken = there(taken, factor)
            rows = jnp.where(inside, 0.0, rows) - einsum("ij,jk->ik", factor, taken.T)
            return there(a, rows), there(left, rest), taken

        a, left, _ = jax.lax.fori_loop(block + 1, count, below, (here(a, inverse), left, inverse.T))
        return a, left

    carry = jnp.pad(matrix, ((0, rest), (0, rest))), left
    if count == 2:
        a, _ = eliminate(1, eliminate(0, carry))
    else:
        a, _ = jax.lax.fori_loop(0, count, eliminate, carry)
    return jnp.tril(a[:dim, :dim])


def _rows(block: int | Array, size: int) -> Callable[..., Array]:
    """Read some rows of an array, or put others in their place."""

    def rows(x: Array, new: Array | None = None) -> Array:
        if new is None:
            return jax.lax.dynamic_slice_in_dim(x, block * size, size)
        return jax.lax.dynamic_update_slice_in_dim(x, new, block * size, axis=0)

    return rows


def _within(
    below: Float[Array, "n m"], trust: Float[Array, " m"], left: Float[Array, " n"], noise: Float[Array, " n"]
) -> tuple[Float[Array, "n m"], Float[Array, " n"]]:
    """Hold a block of L within its bounds, column after column, and take it from what is left."""
    spare = jnp.maximum(left - noise, 0.0)[:, None]
    bound = jnp.sqrt(spare * trust[None])
    square = jnp.clip(below, -bound, bound) ** 2
    before = einsum("ij,jk->ik", square, jnp.triu(jnp.ones((trust.size, trust.size), below.dtype), 1))
    limit = jnp.sqrt(jnp.maximum(spare - before, 0.0) * trust[None])
    held = jnp.clip(below, -limit, limit)
    return held, left - jnp.sum(jnp.maximum(held * held, below * below * trust[None]), axis=1)


def _by_library(
    matrix: Float[Array, "d d"], noise: Float[Array, " d"], least: Float[Array, " d"]
) -> Float[Array, "d d"]:
    """Factorise by the platform's library, and again with a larger diagonal, which serves where that gave nan.

    Halves of halves would be a thousand kernels on a GPU. What is added first is d times the noise of each row, more
    than rounding of the factor can make any eigenvalue negative by; then what sums of many rounds may be off by.
    """

    def whiten(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
        factor = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
        one = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
        return jax.lax.linalg.triangular_solve(factor, one, left_side=True, lower=True)

    diagonal = jnp.diagonal(matrix)
    first, second, third = (whiten(matrix + jnp.diag(x)) for x in (0 * noise, noise.size * noise, SUMMED * diagonal))
    second = jnp.where(jnp.all(jnp.isfinite(second)), second, third)
    return jnp.where(jnp.all(jnp.isfinite(first)), first, second)


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

    Both divisions by the root are written out, and nothing else looks at `a`: compilers then keep two vectors, instead
    of computing them anew for each element of `a` from a copy of it.
    """
    tiny = jnp.finfo(matrix.dtype).tiny

    def eliminate(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        a, left = carry
        index = jnp.arange(a.shape[0], dtype=jnp.int32).reshape(-1, *(1,) * (a.ndim - 2))
        row, column = a[j], a[:, j]
        spare = jnp.maximum(left - noise, 0.0)
        pivot = jnp.maximum(jnp.abs(left[j]), least[j])
        excess = jnp.clip(column * column / jnp.maximum(spare * spare[j][None], tiny), 1.0, MOST)
        root = jnp.sqrt(pivot[None] * jnp.where(index > j, excess, 1.0))
        row = jnp.where(index == j, 1.0, row) / root
        below = column / root
        after = jnp.where(index[None] == j, 0.0, a) - below[:, None] * row[None]
        a = jnp.where(index[:, None] == j, row[None], jnp.where(index[:, None] < j, a, after))
        spent = jnp.maximum(below * below, (below * root) ** 2 * (spare[j] / (pivot * pivot))[None])
        return a, jnp.where(index > j, left - spent, left)

    start = matrix, jnp.moveaxis(jnp.diagonal(matrix), -1, 0)
    a, left = jax.lax.fori_loop(0, matrix.shape[0], eliminate, start, unroll=unroll)
    one = jnp.eye(a.shape[0], dtype=bool).reshape(*a.shape[:2], *(1,) * (a.ndim - 2))
    return jnp.where(one & (left <= noise)[None], -a, a)


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
