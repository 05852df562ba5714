"""Random words: the very words of `jax.random.bits`, sooner. Knows no distributions."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt32

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Draw uniform 32-bit words, word i from block i of Threefry-2x32 (Salmon et al. 2011): one fused kernel.

    On a CPU JAX loops over the 20 rounds and keeps the words in memory between them, which takes three times as long.
    Keys of other generators are left to JAX.
    """
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.bits(key, shape, jnp.uint32)
    first, second = jax.random.key_data(key)
    subkeys = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    y = jnp.arange(math.prod(shape), dtype=jnp.uint32) + second
    x = jnp.zeros_like(y) + first
    for group in range(5):
        for rotation in ROTATIONS[:4] if group % 2 == 0 else ROTATIONS[4:]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + subkeys[(group + 1) % 3]
        y = y + subkeys[(group + 2) % 3] + jnp.uint32(group + 1)
    return (x ^ y).reshape(shape)
