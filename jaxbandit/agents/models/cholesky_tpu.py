"""The sweep of `cholesky` as one Pallas kernel for TPUs: 128 matrices side by side, one in each vector lane.

XLA keeps the lanes of a simulation where it likes and goes through memory once for each column. Here a block of 128
matrices stays in the fast memory of the core: columns along the first axis, rows along the sublanes. Whatever lanes
`vmap` adds are laid flat into one axis.
"""

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from jaxbandit._core.batching import all_at_once
from jaxbandit.agents.models.cholesky import MOST

LANES, SUBLANES = 128, 8  # of a vector register
Ref: TypeAlias = Any  # to the memory of a kernel
TINY = 1.1754944e-38  # smallest normal number


@all_at_once
def sweep_all(
    matrix: Float[Array, "n d d"], noise: Float[Array, "n d"], least: Float[Array, "n d"]
) -> Float[Array, "n d d"]:
    """Eliminate [M | I] of each matrix; what is above the diagonal has no meaning."""
    return call(matrix, noise, least)


def call(
    matrix: Float[Array, "n d d"], noise: Float[Array, "n d"], least: Float[Array, "n d"], interpret: bool = False
) -> Float[Array, "n d d"]:
    """Call the kernel for blocks of 128 matrices; the last block is filled up with ones that are never read."""
    number, dim, _ = matrix.shape
    rows, lanes = dim + -dim % SUBLANES, number + -number % LANES
    fill = (0, rows - dim), (0, lanes - number)
    columns = jnp.pad(matrix.transpose(2, 1, 0), ((0, 0), *fill))
    of_rows = jnp.pad(noise.T, fill), jnp.pad(least.T, fill, constant_values=1.0)
    block, row_block = (dim, rows, LANES), (rows, LANES)
    done = pl.pallas_call(
        partial(_kernel, dim),
        grid=(lanes // LANES,),
        in_specs=[pl.BlockSpec(block, lambda i: (0, 0, i)), *[pl.BlockSpec(row_block, lambda i: (0, i))] * 2],
        out_specs=pl.BlockSpec(block, lambda i: (0, 0, i)),
        out_shape=jax.ShapeDtypeStruct(columns.shape, columns.dtype),
        scratch_shapes=[pltpu.VMEM(row_block, columns.dtype)] * 2,
        interpret=interpret,
    )(columns, *of_rows)
    return done[:, :dim, :number].transpose(2, 1, 0)


def _kernel(dim: int, matrix: Ref, noise: Ref, least: Ref, out: Ref, left: Ref, inverse: Ref) -> None:
    """Eliminate column after column in place. Registers whose rows are finished are left alone."""
    out[...] = matrix[...]
    for i in range(dim):
        left[pl.ds(i, 1), :] = matrix[i, pl.ds(i, 1), :]
    for top in range(0, dim, SUBLANES):
        step = partial(_eliminate, dim, top, noise, least, out, left, inverse)
        jax.lax.fori_loop(top, min(top + SUBLANES, dim), step, None)


def _eliminate(
    dim: int, top: int, noise: Ref, least: Ref, out: Ref, left: Ref, inverse: Ref, j: Array, _: None
) -> None:
    """Eliminate column j, one of the eight from `top` on, as `cholesky._sweep` does."""
    own = pl.ds(j, 1)
    row = top + jax.lax.broadcasted_iota(jnp.int32, (out.shape[1] - top, LANES), 0)
    column = out[j, top:, :]
    spare = jnp.maximum(left[top:, :] - noise[top:, :], 0.0)
    own_spare = jnp.maximum(left[own, :] - noise[own, :], 0.0)
    excess = jnp.clip(column * column / jnp.maximum(spare * own_spare, TINY), 1.0, MOST)
    pivot = jnp.maximum(jnp.abs(left[own, :]), least[own, :])
    inverse[top:, :] = jax.lax.rsqrt(pivot * jnp.where(row > j, excess, 1.0))
    below = jnp.where(row > j, column * inverse[top:, :], 0.0)
    spent = jnp.maximum(below * below, column * column * (own_spare / (pivot * pivot)))
    left[top:, :] = left[top:, :] - spent
    one = jnp.where(own_spare > 0, 1.0, -1.0)
    out[j, top:, :] = jnp.where(row > j, 0.0, jnp.where(row == j, one, column))
    scale = inverse[own, :]
    for k in range(dim):
        value = out[k, own, :] * (scale if k < top else inverse[pl.ds(k, 1), :])
        out[k, top:, :] = jnp.where(row == j, value, out[k, top:, :]) - below * value
