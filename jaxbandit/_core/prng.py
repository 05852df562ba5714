"""Random words and keys equal to those of `jax.random`, drawn faster. It knows no distributions.

On a CPU JAX loops over the 20 rounds of its generator, Threefry-2x32, and keeps all words in memory between them; here
they are one fused kernel. Keys of other generators are left to JAX.
Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3",
https://doi.org/10.1145/2063384.2063405.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import Array, Int, Key, UInt, UInt32

THREEFRY = "threefry2x32"
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
MANY = 2**17  # words; so many are kept in memory, while fewer are drawn again wherever they are used


def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Draw the uniform 32-bit words of `jax.random.bits`."""
    return jax.random.bits(fused(key), shape, jnp.uint32)


def split(key: Key[Array, ""], num: int = 2) -> Key[Array, " num"]:
    """Make the keys of `jax.random.split`."""
    return jax.random.split(fused(key), num)


def fold_in(key: Key[Array, ""], number: Int[Array, ""]) -> Key[Array, ""]:
    """Make the key of `jax.random.fold_in`."""
    return jax.random.fold_in(fused(key), number)


def fused(key: Key[Array, "*n"]) -> Key[Array, "*n"]:
    """Let all that `jax.random` draws with a key, and with those made of it, be the same, drawn faster."""
    if str(jax.random.key_impl(key)) != THREEFRY:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=FUSED)


def root(seed: int) -> Key[Array, ""]:
    """Make the key of `jax.random.key`, which would compile a program for it."""
    impl = jax.config.values["jax_default_prng_impl"]
    if impl != THREEFRY or jax.config.values["jax_enable_x64"]:
        return jax.random.key(seed)
    return jax.random.wrap_key_data(jax.device_put(np.array([0, seed % 2**32], np.uint32)), impl=impl)


def _bits(key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    """Draw uniform words of this width.

    XLA fuses the kernel into every use of the words, and so draws them once for each use. A loop of two iterations
    keeps it from doing so where they are many.
    """
    if width != 32:
        return jax.random.bits(jax.random.wrap_key_data(key, impl=THREEFRY), shape, f"uint{width}")
    size = math.prod(shape)
    if size < MANY:
        return jnp.bitwise_xor(*_threefry(key, jnp.arange(size, dtype=jnp.uint32))).reshape(shape)
    halves = jnp.arange(size + size % 2, dtype=jnp.uint32).reshape(2, -1)
    words = jax.lax.map(lambda block: jnp.bitwise_xor(*_threefry(key, block)), halves)
    return words.reshape(-1)[:size].reshape(shape)


def _children(key: UInt32[Array, "2"], number: UInt32[Array, "*n"]) -> UInt32[Array, "*n 2"]:
    return jnp.stack(_threefry(key, number), axis=-1)


def _split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "*n 2"]:
    return _children(key, jnp.arange(math.prod(shape), dtype=jnp.uint32)).reshape(*shape, 2)


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


def _seed(seed: Int[Array, ""]) -> UInt32[Array, "2"]:
    return jax.random.key_data(jax.random.key(seed, impl=THREEFRY))


FUSED = define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_bits,
    fold_in=_children,  # type: ignore[arg-type]
    name="fused_threefry2x32",
    tag="fused",
)
