"""Scores -> actions and their probabilities: every rule by which agents explore. It knows no models."""

from functools import reduce
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from jaxbandit._core import platforms, prng
from jaxbandit.types import Context, Traced

Ties = Literal["random", "first"]
FEW_ARMS = 32
MOST_INDEX_BITS = 12  # of 32; the others are random
WORST = (np.float32(-np.inf), np.uint32(0), np.int32(0))


def allowed(context: Context, scores: Float[Array, "B K"]) -> Float[Array, "B K"]:
    """Replace the scores of arms that the mask forbids by -inf."""
    return scores if context.mask is None else jnp.where(context.mask, scores, -jnp.inf)


def upper_bounds(
    context: Context, mean: Float[Array, "B K"], variance: Float[Array, "B K"], alpha: Traced
) -> Float[Array, "B K"]:
    """Score the arms by mean + alpha standard deviations; those that the mask forbids by -inf."""
    return allowed(context, mean + alpha * jnp.sqrt(variance))


def greedy(key: Key[Array, ""], scores: Float[Array, "B K"], ties: Ties = "random") -> Int[Array, " B"]:
    """Take an arm of the highest score; equal scores are broken uniformly at random, or by the lowest index ("first").

    A score is compared with others by (score, random priority).
    """
    if ties == "first":
        return jnp.argmax(scores, axis=-1).astype(jnp.int32)
    words = prng.bits(key, (scores.shape[0], 1))
    return platforms.choose(_highest_on_cpu, tpu=_highest, cuda=_reduced)(scores, words)


def _highest(scores: Float[Array, "B K"], words: UInt32[Array, "B 1"]) -> Int[Array, " B"]:
    """Arm of the highest (score, priority).

    One reduction: comparing scores with their maximum instead would compute them twice in one fused kernel, and rounded
    in another way, so that no arm equals the maximum. Few arms are compared arm after arm, all users at once, which
    compilers vectorise.
    """
    if scores.shape[1] <= FEW_ARMS:
        return _last_standing(scores, words)[2]
    return _reduced(scores, words)


def _reduced(scores: Float[Array, "B K"], words: UInt32[Array, "B 1"]) -> Int[Array, " B"]:
    """Arm of the highest (score, priority) by one kernel, however few arms there are."""
    return jax.lax.reduce(_offers(scores, words), WORST, _better, (1,))[2]


def _highest_on_cpu(scores: Float[Array, "B K"], words: UInt32[Array, "B 1"]) -> Int[Array, " B"]:
    """Arm of the highest (score, priority), which XLA cannot fuse into what uses it, to be chosen again for each use.

    Many arms are compared with the maximum: the loop keeps the scores in memory. Then the lowest bits of a priority are
    the arm.
    """
    (batch, num_arms), index_bits = scores.shape, max(1, (scores.shape[1] - 1).bit_length())
    if num_arms <= FEW_ARMS:
        pairs = (
            jnp.stack([best, jnp.full_like(best, worst)])
            for best, worst in zip(_last_standing(scores, words), WORST, strict=True)
        )
        return jax.lax.reduce(tuple(pairs), WORST, _better, (0,))[2]
    if not isinstance(batch, int) or batch % 2 or index_bits > MOST_INDEX_BITS:
        return _highest(scores, words)

    def block(part: tuple[Array, Array]) -> Int[Array, " B"]:
        scores, priority, arm = _offers(*part)
        ranks = (priority >> index_bits << index_bits) | arm.astype(jnp.uint32)
        best = jnp.max(jnp.where(scores >= jnp.max(scores, axis=1, keepdims=True), ranks, 0), axis=1)
        return (best & jnp.uint32(2**index_bits - 1)).astype(jnp.int32)

    return jax.lax.map(block, (scores.reshape(2, -1, num_arms), words.reshape(2, -1, 1))).reshape(-1)


def _offers(scores: Float[Array, "B K"], words: UInt32[Array, "B 1"]) -> tuple[Array, Array, Array]:
    """Score, priority and index of every arm."""
    arm = jnp.arange(scores.shape[1], dtype=jnp.uint32)[None]
    priority = _mix(words + arm * jnp.uint32(0x9E3779B9))
    return scores, priority, jnp.broadcast_to(arm.astype(jnp.int32), scores.shape)


def _last_standing(scores: Float[Array, "B K"], words: UInt32[Array, "B 1"]) -> tuple[Array, ...]:
    return reduce(_better, zip(*(offer.T for offer in _offers(scores, words)), strict=True))


def _better(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] > b[1]))
    return tuple(jnp.where(first, x, y) for x, y in zip(a, b, strict=True))


def _mix(bits: UInt32[Array, "B K"]) -> UInt32[Array, "B K"]:
    """Turn counters into random words (the finalizer of MurmurHash3): one draw per user serves all of its arms."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def uniform(key: Key[Array, ""], context: Context, num_actions: int) -> Int[Array, " B"]:
    """Take an allowed arm uniformly at random."""
    draw = jax.random.uniform(key, context.user.shape[:1])
    if context.mask is None:
        return jnp.minimum((draw * num_actions).astype(jnp.int32), num_actions - 1)
    return _nth(context.mask, draw)


def epsilon_greedy(
    key: Key[Array, ""],
    context: Context,
    scores: Float[Array, "B K"],
    epsilon: Traced,
    ties: Ties = "random",
) -> Int[Array, " B"]:
    """Take a uniform allowed arm, the greedy one included, with probability epsilon; else a best one."""
    coin_key, uniform_key, greedy_key = prng.split(key, 3)
    explore = jax.random.uniform(coin_key, scores.shape[:1]) < epsilon
    anything = uniform(uniform_key, context, scores.shape[1])
    return jnp.where(explore, anything, greedy(greedy_key, allowed(context, scores), ties))


def num_allowed(context: Context, num_actions: int) -> Float[Array, "#B 1"]:
    """Count the allowed arms."""
    if context.mask is None:
        return jnp.full((1, 1), num_actions, jnp.float32)
    return jnp.sum(context.mask, axis=-1, keepdims=True).astype(jnp.float32)


def inverse_gap(
    context: Context, scores: Float[Array, "B K"], weight: Float[Array, "#B 1"] | float
) -> Float[Array, "B K"]:
    """Give an allowed arm p_a = 1 / (K + weight gap_a), gap_a = max_j f_j - f_a, K of them; best arms share the rest.

    Source: Foster & Rakhlin 2020, "Beyond UCB: optimal and efficient contextual bandits with regression oracles",
    https://arxiv.org/abs/2002.04926, after Abe & Long 1999.
    """
    scores = jax.lax.optimization_barrier(allowed(context, scores))  # once: their maximum is one of them to the bit
    gap = jnp.max(scores, axis=-1, keepdims=True) - scores
    each = 1 / (num_allowed(context, scores.shape[1]) + weight * gap)
    each = each if context.mask is None else jnp.where(context.mask, each, 0.0)
    rest = jnp.maximum(1 - jnp.sum(each, axis=-1, keepdims=True), 0)
    return each + jnp.where(gap == 0, rest / jnp.sum(gap == 0, axis=-1, keepdims=True).astype(rest.dtype), 0.0)


def boltzmann(
    key: Key[Array, ""], context: Context, scores: Float[Array, "B K"], temperature: Traced
) -> Int[Array, " B"]:
    """Draw an allowed arm with probability softmax(scores / temperature)."""
    noisy = scores / temperature + jax.random.gumbel(key, scores.shape)
    return jnp.argmax(allowed(context, noisy), axis=-1).astype(jnp.int32)


def boltzmann_gumbel(
    key: Key[Array, ""],
    context: Context,
    scores: Float[Array, "B K"],
    pulls: Float[Array, " K"],
    scale: Traced,
    ties: Ties = "random",
) -> Int[Array, " B"]:
    """Take argmax_a f_a + scale / sqrt(n_a) xi_a, xi_a ~ Gumbel(0, 1); an arm never pulled goes first.

    Source: Cesa-Bianchi, Gentile, Lugosi & Neu 2017, "Boltzmann exploration done right",
    https://arxiv.org/abs/1705.10257.
    """
    noise_key, tie_key = prng.split(key)
    noise = jax.random.gumbel(noise_key, scores.shape)
    width = jax.lax.rsqrt(jnp.maximum(pulls, 1.0))
    noisy = jnp.where(pulls[None] > 0, scores + scale * width[None] * noise, jnp.finfo(scores.dtype).max)
    return greedy(tie_key, allowed(context, noisy), ties)


def greedy_probabilities(scores: Float[Array, "B K"], ties: Ties = "random") -> Float[Array, "B K"]:
    """Probability that `greedy` takes each arm: 1 for the best one, or 1/n for each of n that tie."""
    if ties == "first":
        return jax.nn.one_hot(jnp.argmax(scores, axis=-1), scores.shape[1])
    scores = jax.lax.optimization_barrier(scores)  # once, so that a maximum equals itself
    best = (scores == jnp.max(scores, axis=-1, keepdims=True)).astype(jnp.float32)
    return best / jnp.sum(best, axis=-1, keepdims=True)


def uniform_probabilities(context: Context, num_actions: int) -> Float[Array, "B K"]:
    """Probability that `uniform` takes each arm."""
    if context.mask is None:
        return jnp.full((context.user.shape[0], num_actions), 1 / num_actions)
    candidates = context.mask.astype(jnp.float32)
    return candidates / jnp.sum(candidates, axis=-1, keepdims=True)


def epsilon_greedy_probabilities(
    context: Context, scores: Float[Array, "B K"], epsilon: Traced, ties: Ties = "random"
) -> Float[Array, "B K"]:
    """Probability that `epsilon_greedy` takes each arm."""
    best = greedy_probabilities(allowed(context, scores), ties)
    return epsilon * uniform_probabilities(context, scores.shape[1]) + (1 - epsilon) * best


def boltzmann_probabilities(context: Context, scores: Float[Array, "B K"], temperature: Traced) -> Float[Array, "B K"]:
    """Probability that `boltzmann` takes each arm."""
    return jax.nn.softmax(allowed(context, scores / temperature), axis=-1)


def _nth(candidates: Bool[Array, "B K"], draw: Float[Array, " B"]) -> Int[Array, " B"]:
    """Index of the candidate number floor(draw * count) of each user: as many as have a rank up to that number."""
    rank = _running_count(candidates)
    count = rank[:, -1]
    number = jnp.minimum(jnp.floor(draw * count), count - 1)
    return jnp.sum(rank <= number[:, None], axis=-1, dtype=jnp.int32)


def _running_count(candidates: Bool[Array, "B K"]) -> Float[Array, "B K"]:
    """Cumulative sum along a row; a product with a triangle of ones is much faster on few arms (exact below 2^24)."""
    ones, num_actions = candidates.astype(jnp.float32), candidates.shape[1]
    if num_actions > 64:
        return jnp.cumsum(ones, axis=-1)
    return ones @ jnp.triu(jnp.ones((num_actions, num_actions), jnp.float32))
