"""Draws that environments share: distinct items without sorting the catalogue, and draws by weight. Knows no worlds."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

TILE = 256  # users of a tile, whose swaps stay in the fastest cache


def uniform(key: Key[Array, ""], population: int, batch: int) -> Int[Array, " batch"]:
    """Draw indices with replacement; probabilities are within population / 2^32 (relative) of uniform."""
    return multiply_high(jax.random.bits(key, (batch,), jnp.uint32), jnp.uint32(population)).astype(jnp.int32)


def distinct(key: Key[Array, ""], population: int, batch: int, count: int) -> Int[Array, "batch count"]:
    """Draw `count` distinct of `population` items for each user: uniform over ordered subsets.

    A Fisher-Yates shuffle stopped after `count` steps. Position i swaps with j_i ~ U{i .. population - 1}; instead of
    the array of all items only the entries that a swap has moved are kept, so work does not grow with `population`.
    All random bits are drawn at once. Each j_i is the high word of bits * range, whose probabilities are within
    population / 2^32 (relative) of uniform: 2e-5 at 87,585 items.
    """
    bits = jax.lax.optimization_barrier(jax.random.bits(key, (count, batch), jnp.uint32))
    step = jnp.arange(count, dtype=jnp.int32)[:, None]
    span = jnp.uint32(population) - step.astype(jnp.uint32)
    target = step + multiply_high(bits, span).astype(jnp.int32)

    tile = next((size for size in range(TILE, TILE // 4, -1) if batch % size == 0), batch)
    tiles = target.reshape(count, batch // tile, tile).swapaxes(0, 1)
    return jax.lax.map(_follow_swaps, tiles).swapaxes(1, 2).reshape(batch, count)


def _follow_swaps(target: Int[Array, "count tile"]) -> Int[Array, "count tile"]:
    """Find which item every step of the shuffle meets at its target."""
    count, tile = target.shape

    def latest(moved: Array, position: Array) -> Array:
        last = jnp.max(jnp.where(target == position[None], moved, -1), axis=0)
        return jnp.where(last < 0, position, last % count)

    def swap(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        moved, drawn = carry  # moved[m] = m * count + what step m put at position target[m]; -1 before step m
        drawn = drawn.at[i].set(latest(moved, target[i]))
        return moved.at[i].set(i * count + latest(moved, jnp.full(tile, i, jnp.int32))), drawn

    return jax.lax.fori_loop(0, count, swap, (jnp.full_like(target, -1), jnp.zeros_like(target)))[1]


def multiply_high(a: UInt32[Array, "..."], b: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """High 32 bits of the 64-bit product, by 16-bit halves (64-bit integers are off in JAX by default)."""
    a_high, a_low, b_high, b_low = a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF
    middle = a_high * b_low + ((a_low * b_low) >> 16)
    return a_high * b_high + (middle >> 16) + ((a_low * b_high + (middle & 0xFFFF)) >> 16)


def weighted(key: Key[Array, ""], cumulative: Float[Array, " n"], batch: int) -> Int[Array, " batch"]:
    """Draw indices with replacement by weight; `cumulative` are the cumulative probabilities, the last is 1."""
    draw = jax.random.uniform(key, (batch,))
    last = cumulative.shape[0] - 1
    return jnp.minimum(jnp.searchsorted(cumulative, draw, side="right").astype(jnp.int32), last)


def weighted_distinct(
    key: Key[Array, ""], log_weight: Float[Array, " n"], batch: int, count: int
) -> Int[Array, "batch count"]:
    """Draw distinct indices one after the other by weight (Plackett-Luce), as Gumbel top-k: O(batch * n)."""
    gumbel = jax.random.gumbel(key, (batch, log_weight.shape[0]))
    return jax.lax.top_k(log_weight[None] + gumbel, count)[1].astype(jnp.int32)
