"""The wheel bandit: a safe arm, and four that pay a lot in the rim of the unit disk, which delta makes thin.

It has no other number of arms.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Interval, doc
from jaxtyping import Array, Float, Key

from jaxbandit._core import prng
from jaxbandit._core.arrays import floats
from jaxbandit.envs.outcome import expected, gaussian_outcome
from jaxbandit.types import Context, Environment, Outcome, Spec, Traced

SAFE, OTHER, RIM = 1.2, 1.0, 50.0  # mean rewards; arm 0 is the safe one


class WheelParams(NamedTuple):
    """Radius of the inner disk, and the noise."""

    delta: Float[Array, ""]
    std: Float[Array, ""]
    rim_std: Float[Array, ""]


def wheel(
    *,
    delta: Annotated[Traced, Interval(ge=0, le=1), doc("radius of the inner disk")] = 0.5,
    std: Annotated[Traced, Ge(0), doc("noise of ordinary rewards; .01 in TF-Agents, .05 in the paper's code")] = 0.01,
    rim_std: Annotated[Traced, Ge(0), doc("noise of the reward 50")] = 0.01,
) -> tuple[Environment[WheelParams, tuple[()]], WheelParams]:
    """Pay 1.2 for arm 0, 1 for the others, but 50 for the arm of x's quadrant where |x| > delta; x uniform in the disk.

    Regret per round: of uniform .16 delta^2 + 39.16 (1 - delta^2), of the safe arm 48.8 (1 - delta^2).
    Source: Riquelme, Tucker & Snoek 2018, "Deep Bayesian bandits showdown", section 5.4,
    https://arxiv.org/abs/1802.09127.
    """

    def observe(key: Key[Array, ""], params: WheelParams, state: tuple[()], batch_size: int) -> tuple[Context, Array]:
        radius_key, angle_key = prng.split(key)
        radius = jnp.sqrt(jax.random.uniform(radius_key, (batch_size,)))
        angle = jax.random.uniform(angle_key, (batch_size,), maxval=2 * jnp.pi)
        user = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        negative = (user < 0).astype(jnp.int32)
        quadrant = 1 + 2 * negative[:, 0] + negative[:, 1]
        means = jnp.full((batch_size, 5), OTHER).at[:, 0].set(SAFE)
        pays = (jnp.arange(5)[None] == quadrant[:, None]) & (radius > params.delta)[:, None]
        return Context(user=user, user_id=jnp.arange(batch_size)), jnp.where(pays, RIM, means)

    def respond(
        key: Key[Array, ""], params: WheelParams, state: tuple[()], context: Context, means: Array, action: Array
    ) -> tuple[tuple[()], Outcome]:
        std = jnp.where(expected(means, action) == RIM, params.rim_std, params.std)
        return state, gaussian_outcome(key, context, means, action, std)

    spec = Spec(num_actions=5, user_dim=2, arm_dim=0)
    params = WheelParams(floats(delta), floats(std), floats(rim_std))
    return Environment(spec, lambda key, params: (), observe, respond), params
