"""A replay buffer as a pytree: a ring of the latest examples of a stream. It knows no agents and no losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from jaxbandit._core import platforms
from jaxbandit._core.batching import all_at_once
from jaxbandit._core.linalg import einsum
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

    def scattered() -> PyTree:
        return jax.tree.map(lambda old, new: old.at[slot].set(new, mode="drop", unique_indices=True), *both)

    def in_blocks() -> PyTree:
        place = jnp.where(kept, number, 0)
        return jax.tree.map(lambda old, new: _write(old[None], new[None], buffer.slot[None], place[None])[0], *both)

    both = buffer.examples, batch
    examples = platforms.choose(scattered, tpu=scattered if capacity % counted.shape[0] else in_blocks)()
    stored = jnp.minimum(buffer.stored + jnp.minimum(count, capacity), capacity)
    return Replay(examples, (buffer.slot + count) % capacity, stored)


@all_at_once
def _write(
    old: Shaped[Array, "n N *s"], new: Shaped[Array, "n B *s"], slot: Int[Array, " n"], place: Int[Array, "n B"]
) -> Shaped[Array, "n N *s"]:
    """Write row place - 1 places behind the slot, and those of place 0 nowhere; block by block of B rows, in place.

    A TPU would copy the whole buffer into a layout for a scatter, and back. Here all lanes write to a block at once:
    to one or two blocks, unless lanes have stored unequal numbers.
    """
    size, block, more = old.shape[1], new.shape[1], (1,) * (new.ndim - 2)
    first, count = slot // block, jnp.max(place, axis=1)
    behind = (first - first[0]) % (size // block)
    turns = jnp.max(behind + (slot % block + count + block - 1) // block)

    def one(turn: Int[Array, ""], old: Shaped[Array, "n N *s"]) -> Shaped[Array, "n N *s"]:
        start = (first[0] + turn) % (size // block) * block
        offset = (start + jnp.arange(block, dtype=jnp.int32)[None] - slot[:, None]) % size
        own = place[:, None] == offset[:, :, None] + 1  # [n, B of the block, B of the batch]
        if jnp.issubdtype(new.dtype, jnp.floating):
            rows = einsum("npb,nb...->np...", own.astype(new.dtype), new)  # one value and zeros: exact
        else:
            rows = jnp.sum(jnp.where(own.reshape(*own.shape, *more), new[:, None], 0), axis=2, dtype=new.dtype)
        written = jnp.any(own, axis=2).reshape(*own.shape[:2], *more)
        part = jnp.where(written, rows, jax.lax.dynamic_slice_in_dim(old, start, block, axis=1))
        return jax.lax.dynamic_update_slice_in_dim(old, part, start, axis=1)

    return jax.lax.fori_loop(0, jnp.minimum(turns, size // block), one, old)


def sample(key: Key[Array, ""], buffer: Replay, count: int) -> PyTree[Shaped[Array, "M ..."]]:
    """Draw `count` stored examples uniformly, with replacement. An empty buffer gives examples of zeros."""
    index = jax.random.randint(key, (count,), 0, jnp.maximum(buffer.stored, 1))
    return jax.tree.map(lambda leaf: leaf.at[index].get(mode="promise_in_bounds"), buffer.examples)
