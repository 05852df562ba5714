"""Rows of a batch that belong to one of K models each: sums over the rows of every model. It knows no models.

A CPU adds row after row, work for B rows however many models there are, and nothing that XLA fuses the choice of a
model into. TPUs and GPUs multiply with one-hot rows.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxbandit._core import platforms
from jaxbandit._core.linalg import einsum


def add_rows(total: Float[Array, "K *s"], model: Int[Array, " B"], rows: Float[Array, "B *s"]) -> Float[Array, "K *s"]:
    """Add each row to the total of its model."""
    return platforms.choose(_add_rows, tpu=_multiply_rows, cuda=_multiply_rows)(total, model, rows)


def add_products(
    total: Float[Array, "K d d"], model: Int[Array, " B"], left: Float[Array, "B d"], right: Float[Array, "B d"]
) -> Float[Array, "K d d"]:
    """Add left right' of each row to the total of its model."""
    return platforms.choose(_add_products, tpu=_multiply_products, cuda=_multiply_products)(total, model, left, right)


def _add_rows(total: Float[Array, "K *s"], model: Int[Array, " B"], rows: Float[Array, "B *s"]) -> Float[Array, "K *s"]:
    return total + jnp.sum(rows, axis=0, keepdims=True) if total.shape[0] == 1 else total.at[model].add(rows)


def _multiply_rows(
    total: Float[Array, "K *s"], model: Int[Array, " B"], rows: Float[Array, "B *s"]
) -> Float[Array, "K *s"]:
    return total + einsum("bk,b...->k...", jax.nn.one_hot(model, total.shape[0]), rows)


def _add_products(
    total: Float[Array, "K d d"], model: Int[Array, " B"], left: Float[Array, "B d"], right: Float[Array, "B d"]
) -> Float[Array, "K d d"]:
    if total.shape[0] == 1:
        return total + einsum("bi,bj->ij", left, right)[None]
    return total.at[model].add(left[:, :, None] * right[:, None])


def _multiply_products(
    total: Float[Array, "K d d"], model: Int[Array, " B"], left: Float[Array, "B d"], right: Float[Array, "B d"]
) -> Float[Array, "K d d"]:
    return total + einsum("bk,bi,bj->kij", jax.nn.one_hot(model, total.shape[0]), left, right)
