"""Draws that environments share: distinct items without sorting the catalogue, and draws by weight. Knows no worlds."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxbandit._core import platforms, prng


def uniform(key: Key[Array, ""], population: int, *shape: int) -> Int[Array, "..."]:
    """Draw indices with replacement; probabilities are within population / 2^32 (relative) of uniform.

    Source: Lemire 2019, "Fast random integer generation in an interval", https://arxiv.org/abs/1805.10941, without
    its rejection step.
    """
    return multiply_high(prng.bits(key, shape), jnp.uint32(population)).astype(jnp.int32)


def distinct(key: Key[Array, ""], population: int, batch: int, count: int) -> Int[Array, "batch count"]:
    """Draw `count` distinct of `population` items for each user: uniform over ordered subsets.

    A Fisher-Yates shuffle stopped after `count` steps: step i swaps position i with j_i ~ U{i .. population - 1}, and
    what comes to i is drawn. There is no array of all items: what lies at p = j_i was put there by the last step m < i
    with j_m = p, which took it from position m; so p becomes m, and the search goes on below m, for all i at once.
    Each j_i is drawn as in `uniform`: 2e-5 from uniform at 87,585 items.
    Source: Durstenfeld 1964, "Algorithm 235: Random permutation", https://doi.org/10.1145/364520.364540.
    """
    step = jnp.arange(count, dtype=jnp.int32)[:, None]
    target = _targets(key, population, count, batch)

    def undo(back: Array, position: Array) -> Array:
        m = count - 1 - back
        return jnp.where((position == target[m][None]) & (step > m), m, position)

    # A loop costs a TPU and a GPU more than its body of a few comparisons; a CPU compiles one sooner.
    unroll = platforms.choose(lambda: 1, tpu=lambda: count, cuda=lambda: count)()
    return jax.lax.fori_loop(1, count, undo, target, unroll=unroll).T


def distinct_at_once(key: Key[Array, ""], population: int, count: int) -> Int[Array, " count"]:
    """Draw what `distinct` draws for a batch of one, in O(count log count): all steps are undone side by side.

    `last[i]` is the last step before i with the same target, its neighbour in a stable sort; `source[m]` is where the
    item at position m had come from when step m took it away, found by squaring a map that goes one step back.
    """
    step = jnp.arange(count, dtype=jnp.int32)
    target = _targets(key, population, count, 1)[:, 0]
    ordered, order = jax.lax.sort((target, step), num_keys=1)
    same = jnp.concatenate([jnp.zeros(1, bool), ordered[1:] == ordered[:-1]])
    last = jnp.zeros_like(step).at[order].set(jnp.where(same, jnp.roll(order, 1), -1), unique_indices=True)
    filler = jnp.full_like(step, -1).at[jnp.where(target > step, target, count)].max(step, mode="drop")
    source = jnp.where(filler < 0, step, filler)
    source = jax.lax.fori_loop(0, (count - 1).bit_length(), lambda _, source: source[source], source)
    return jnp.where(last < 0, target, source[last])


def _targets(key: Key[Array, ""], population: int, count: int, batch: int) -> Int[Array, "count batch"]:
    """Draw j_i ~ U{i .. population - 1} for every step i of every shuffle."""
    step = jnp.arange(count, dtype=jnp.int32)[:, None]
    span = jnp.uint32(population) - step.astype(jnp.uint32)
    return step + multiply_high(prng.bits(key, (count, batch)), span).astype(jnp.int32)


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
    """Draw distinct indices one after the other by weight (Plackett-Luce), as Gumbel top-k: O(batch * n).

    Source: Kool, van Hoof & Welling 2019, "Stochastic beams and where to find them", https://arxiv.org/abs/1903.06059.
    """
    gumbel = jax.random.gumbel(key, (batch, log_weight.shape[0]))
    return jax.lax.top_k(log_weight[None] + gumbel, count)[1].astype(jnp.int32)
