"""One array of mean rewards -> everything that is measured. The only place where regret's ingredients are made."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core.selection import entries
from jaxbandit.types import Context, Outcome


def expected(means: Float[Array, "B K"], action: Int[Array, " B"]) -> Float[Array, " B"]:
    """Mean reward of the arm taken."""
    return entries(means, action)


def outcome(
    context: Context, means: Float[Array, "B K"], action: Int[Array, " B"], reward: Float[Array, " B"] | None = None
) -> Outcome:
    """Put an outcome together; without `reward` the mean itself is paid."""
    taken = expected(means, action)
    reward = taken if reward is None else reward
    if context.mask is None:
        return Outcome(reward, taken, jnp.max(means, axis=1), jnp.mean(means, axis=1))
    best = jnp.max(jnp.where(context.mask, means, -jnp.inf), axis=1)
    return Outcome(reward, taken, best, jnp.mean(means, axis=1, where=context.mask))


def gaussian_outcome(
    key: Key[Array, ""],
    context: Context,
    means: Float[Array, "B K"],
    action: Int[Array, " B"],
    sd: Float[Array, ""] | Float[Array, " B"],
) -> Outcome:
    """Put an outcome together whose rewards are N(mean, sd)."""
    noise = sd * jax.random.normal(key, action.shape)
    return outcome(context, means, action, expected(means, action) + noise)


def slate_outcome(
    context: Context, means: Float[Array, "B K"], action: Int[Array, "B M"], reward: Float[Array, "B M"]
) -> Outcome:
    """Put the outcome of slates together; one is worth 1 - prod(1 - mean), the probability that any arm attracts.

    A mask leaves at least M arms. The slate taken and the best one are multiplied alike, best arm first, so that
    rounding never puts the one above the other.
    """
    size = action.shape[1]
    taken = jnp.take_along_axis(means, action, axis=1, mode="clip")
    possible = means if context.mask is None else jnp.where(context.mask, means, -jnp.inf)
    both = jnp.stack([jax.lax.top_k(taken, size)[0], jax.lax.top_k(possible, size)[0]])
    taken, best = 1 - jnp.prod(1 - both, axis=-1)
    return Outcome(reward, taken, best, 1 - _mean_product(context, 1 - means, size))


def _mean_product(context: Context, factors: Float[Array, "B K"], size: int) -> Float[Array, " B"]:
    """Mean over all sets of `size` allowed arms of the product of their factors.

    Of the first k allowed arms and sets of j: f(k, j) = j/k f(k - 1, j - 1) factor_k + (1 - j/k) f(k - 1, j).
    """
    mask = jnp.ones(factors.shape, bool) if context.mask is None else context.mask
    count = jnp.maximum(jnp.cumsum(mask.astype(factors.dtype), axis=1), 1)[..., None]
    share = jnp.where(mask[..., None], jnp.arange(size + 1, dtype=factors.dtype)[None, None] / count, 0)

    def add(mean: Float[Array, "B J"], arm: tuple[Array, Array]) -> tuple[Array, None]:
        share, factor = arm
        return share * jnp.roll(mean, 1, axis=1) * factor[:, None] + (1 - share) * mean, None

    start = jnp.zeros((factors.shape[0], size + 1)).at[:, 0].set(1.0)
    return jax.lax.scan(add, start, (share.swapaxes(0, 1), factors.T))[0][:, size]
