"""Random words and keys equal to those of `jax.random`, drawn faster. It knows no distributions.

On a CPU JAX loops over the 20 rounds of its generator, Threefry-2x32, and keeps all words in memory between them; here
they are one fused kernel. Keys of other generators are left to JAX.
Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3",
https://doi.org/10.1145/2063384.2063405.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt32

THREEFRY = "threefry2x32"
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
MANY = 2**17  # words; so many are kept in memory, while fewer are drawn again wherever they are used


def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Draw the uniform 32-bit words of `jax.random.bits`.

    XLA fuses the kernel into every use of the words, and so draws them once for each use. A loop of two iterations
    keeps it from doing so where they are many.
    """
    if not _is_threefry(key):
        return jax.random.bits(key, shape, jnp.uint32)
    size = math.prod(shape)
    draw = partial(_threefry, jax.random.key_data(key))
    if size < MANY:
        return jnp.bitwise_xor(*draw(jnp.arange(size, dtype=jnp.uint32))).reshape(shape)
    halves = jnp.arange(size + size % 2, dtype=jnp.uint32).reshape(2, -1)
    return jax.lax.map(lambda block: jnp.bitwise_xor(*draw(block)), halves).reshape(-1)[:size].reshape(shape)


def split(key: Key[Array, ""], num: int = 2) -> Key[Array, " num"]:
    """Make the keys of `jax.random.split`."""
    if not _is_threefry(key):
        return jax.random.split(key, num)
    return _children(key, jnp.arange(num, dtype=jnp.uint32))


def fold_in(key: Key[Array, ""], number: Int[Array, ""]) -> Key[Array, ""]:
    """Make the key of `jax.random.fold_in`."""
    return _children(key, number.astype(jnp.uint32)) if _is_threefry(key) else jax.random.fold_in(key, number)


def root(seed: int) -> Key[Array, ""]:
    """Make the key of `jax.random.key`, which would compile a program for it."""
    impl = jax.config.values["jax_default_prng_impl"]
    if impl != THREEFRY or jax.config.values["jax_enable_x64"]:
        return jax.random.key(seed)
    return jax.random.wrap_key_data(jax.device_put(np.array([0, seed % 2**32], np.uint32)), impl=impl)


def _is_threefry(key: Key[Array, ""]) -> bool:
    return str(jax.random.key_impl(key)) == THREEFRY


def _children(key: Key[Array, ""], number: UInt32[Array, "*n"]) -> Key[Array, "*n"]:
    words = _threefry(jax.random.key_data(key), number)
    return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl=THREEFRY)


def _threefry(key: UInt32[Array, "2"], block: UInt32[Array, "*n"]) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Encrypt blocks: their numbers, of 64 bits whose upper half is zero."""
    subkeys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = jnp.zeros_like(block) + subkeys[0], block + subkeys[1]
    for group in range(5):
        for rotation in ROTATIONS[:4] if group % 2 == 0 else ROTATIONS[4:]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + subkeys[(group + 1) % 3]
        y = y + subkeys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y
