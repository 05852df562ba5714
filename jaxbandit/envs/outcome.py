"""One array of mean rewards -> everything that is measured. The only place where regret's ingredients are made."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxbandit.types import Context, Outcome


def expected(means: Float[Array, "B K"], action: Int[Array, " B"]) -> Float[Array, " B"]:
    """Mean reward of the arm taken. Actions are in range: looking for others, as is the default, costs a pass."""
    return jnp.take_along_axis(means, action[:, None], axis=1, mode="clip")[:, 0]


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
