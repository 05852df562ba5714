"""One entry of every row, by its index. It chooses nothing."""

import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from jaxbandit._core import platforms


def entries(values: Shaped[Array, "*n K"], index: Int[Array, "*n"]) -> Shaped[Array, "*n"]:
    """Take `values[..., index]` of each row. Indices are in range: looking for others costs a pass.

    On a TPU single elements are gathered one after the other, some 13 cycles each; there they are looked for by
    comparison, all rows at once. The sum of one value and of zeros is that value, to the bit.
    """
    return platforms.choose(_gathered, tpu=_compared)(values, index)


def _gathered(values: Shaped[Array, "*n K"], index: Int[Array, "*n"]) -> Shaped[Array, "*n"]:
    return jnp.take_along_axis(values, index[..., None], axis=-1, mode="clip")[..., 0]


def _compared(values: Shaped[Array, "*n K"], index: Int[Array, "*n"]) -> Shaped[Array, "*n"]:
    number = jnp.arange(values.shape[-1], dtype=index.dtype)
    taken = jnp.where(index[..., None] == number[(None,) * index.ndim], values, jnp.zeros((), values.dtype))
    return jnp.sum(taken, axis=-1, dtype=values.dtype)
