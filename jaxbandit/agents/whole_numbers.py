"""Softmax, draws and sums that are equal to the bit whatever compilers vectorise and in which order they add.

An agent whose state depends on its own probabilities, as EXP3's does, carries a difference in the last place from round
to round until it flips a draw. Exponentials and sums of floats have such differences between programs of different
lanes. So weights and terms are whole numbers here, whose sums are exact, and an exponential is a product of constants.
It knows no agents.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxbandit._core import prng
from jaxbandit.types import Traced

FRACTION_BITS, BITS = 18, 23  # of an exponent of 2: its fraction, and all; below 2^-31 a weight is 0
TOTAL_BITS = 30  # of the weights of a row together
TERM_BITS, MOST_BITS = 8, 20  # a term counts in units of 2^-8, and as at most 2^20
FEW_ARMS = 32  # are added one after the other, for all users at once


def softmax(values: Float[Array, "*n K"], rate: Traced) -> Float[Array, "*n K"]:
    """Make probabilities proportional to exp(rate values), rounded to multiples of 2^-30 K of the highest one."""
    gap = (jnp.max(values, axis=-1, keepdims=True) - values) * rate  # of -inf: inf
    steps = jnp.minimum(jnp.round(gap * (math.log2(math.e) * 2**FRACTION_BITS)), 2**BITS - 1).astype(jnp.int32)
    weight = jnp.full(values.shape, 2**TOTAL_BITS / values.shape[-1], values.dtype)
    for bit in range(BITS):
        factor = 2.0 ** -(2.0 ** (bit - FRACTION_BITS))
        weight = weight * jnp.where(steps >> bit & 1, factor, 1.0).astype(values.dtype)
    whole = jnp.round(weight).astype(jnp.int32)
    return whole.astype(values.dtype) / jnp.sum(whole, axis=-1, keepdims=True).astype(values.dtype)


def draw(key: Key[Array, ""], probabilities: Float[Array, "B K"]) -> Int[Array, " B"]:
    """Draw an arm for each user by its probability, rounded to a whole multiple of 2^-30."""
    whole = jnp.round(probabilities * 2**TOTAL_BITS).astype(jnp.int32)
    if whole.shape[1] > FEW_ARMS:
        until = jnp.cumsum(whole, axis=1).T
    else:
        sums = [whole[:, 0]]
        for arm in range(1, whole.shape[1]):
            sums.append(sums[-1] + whole[:, arm])
        until = jnp.stack(sums)
    threshold = _below(prng.bits(key, whole.shape[:1]), until[-1].astype(jnp.uint32)).astype(jnp.int32)
    return jnp.sum(until <= threshold[None], axis=0, dtype=jnp.int32)


def total(terms: Float[Array, "B J"]) -> Float[Array, " J"]:
    """Sum over the batch, each term rounded to a multiple of 2^-8 and held within 2^20."""
    most = 2.0 ** (TERM_BITS + MOST_BITS)
    whole = jnp.clip(jnp.round(terms * 2**TERM_BITS), -most, most).astype(jnp.int32)
    return jnp.sum(whole, axis=0).astype(terms.dtype) * 2.0**-TERM_BITS


def _below(word: UInt32[Array, " B"], bound: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
    """floor(word bound / 2^32): a whole number below `bound`, from a random word, by halves of 16 bits."""
    half = jnp.uint32(0xFFFF)
    middle = (word >> 16) * (bound & half) + ((word & half) * (bound & half) >> 16)
    low = (word & half) * (bound >> 16) + (middle & half)
    return (word >> 16) * (bound >> 16) + (middle >> 16) + (low >> 16)
