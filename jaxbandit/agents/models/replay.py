"""A replay buffer as a pytree: a ring of the latest examples of a stream. It knows no agents and no losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from jaxbandit._core.memory import check_size


class Replay(NamedTuple):
    """The examples stored so far."""

    examples: PyTree[Shaped[Array, "N ..."]]  # N is the capacity
    slot: Int[Array, ""]  # where the next row goes
    stored: Int[Array, ""]  # examples that there are, at most N


def init(example: PyTree, capacity: int) -> Replay:
    """Make an empty buffer for examples like `example`.

    Raises:
        InputError: it would take more than 1 GiB.
    """
    check_size(example, capacity)
    examples = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example)
    return Replay(examples, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def add(buffer: Replay, batch: PyTree[Shaped[Array, "B ..."]], weight: Float[Array, " B"] | Int[Array, " B"]) -> Replay:
    """Store the examples of `batch` whose weight is not 0 in place of the oldest ones."""
    capacity = jax.tree.leaves(buffer.examples)[0].shape[0]
    counted = weight != 0
    number = jnp.cumsum(counted, dtype=jnp.int32)  # from 1
    count = number[-1]
    kept = counted & (number > count - capacity)  # examples that this very batch would overwrite are never written
    outside = capacity + jnp.arange(counted.shape[0], dtype=jnp.int32)
    slot = jnp.where(kept, (buffer.slot + number - 1) % capacity, outside)

    def write(old: Array, new: Array) -> Array:
        return old.at[slot].set(new, mode="drop", unique_indices=True)

    stored = jnp.minimum(buffer.stored + jnp.minimum(count, capacity), capacity)
    return Replay(jax.tree.map(write, buffer.examples, batch), (buffer.slot + count) % capacity, stored)


def sample(key: Key[Array, ""], buffer: Replay, count: int) -> PyTree[Shaped[Array, "M ..."]]:
    """Draw `count` stored examples uniformly, with replacement. An empty buffer gives examples of zeros."""
    index = jax.random.randint(key, (count,), 0, jnp.maximum(buffer.stored, 1))
    return jax.tree.map(lambda leaf: leaf.at[index].get(mode="promise_in_bounds"), buffer.examples)
