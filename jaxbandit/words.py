"""Random words: the very words of `jax.random.bits`, sooner. Knows no distributions."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt32

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
MANY = 2**17  # words that are not worth drawing again for each of their uses


def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Draw uniform 32-bit words, word i from block i of Threefry-2x32 (Salmon et al. 2011), in one fused kernel.

    On a CPU JAX loops over the 20 rounds and keeps the words in memory between them, which takes three times as long.
    XLA fuses the kernel into every use of the words; a loop of two turns makes it keep many of them.
    Keys of other generators are left to JAX.
    """
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.bits(key, shape, jnp.uint32)
    size = math.prod(shape)
    draw = partial(_threefry, jax.random.key_data(key))
    if size < MANY:
        return draw(jnp.arange(size, dtype=jnp.uint32)).reshape(shape)
    halves = jnp.arange(size + size % 2, dtype=jnp.uint32).reshape(2, -1)
    return jax.lax.map(draw, halves).reshape(-1)[:size].reshape(shape)


def _threefry(key: UInt32[Array, "2"], block: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    """Encrypt the numbers of blocks, and take the exclusive or of both halves."""
    subkeys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = jnp.zeros_like(block) + subkeys[0], block + subkeys[1]
    for group in range(5):
        for rotation in ROTATIONS[:4] if group % 2 == 0 else ROTATIONS[4:]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + subkeys[(group + 1) % 3]
        y = y + subkeys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x ^ y
