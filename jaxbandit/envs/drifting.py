"""Linear worlds that change while they are played: theta turns a little every round, or is drawn anew now and then.

In both, users are x ~ N(0, I), the mean reward of arm a is theta_a'x, and every theta_a is a unit vector. What comes
next depends on the seed and the round alone, so all configurations of a seed meet the same changes.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Interval, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.arrays import floats
from jaxbandit._core.linalg import einsum
from jaxbandit.envs.linear import Sigma
from jaxbandit.envs.masks import MinActions, offer_some
from jaxbandit.envs.outcome import gaussian_outcome
from jaxbandit.types import Context, Environment, Outcome, Spec, Traced

ContextDim = Annotated[int, Ge(2), doc("features of a user, d")]
NumActions = Annotated[int, Ge(2), doc("arms, K")]


class DriftParams(NamedTuple):
    """The noise, and the angle of a round in radians."""

    sigma: Float[Array, ""]
    angle: Float[Array, ""]


class PieceParams(NamedTuple):
    """The noise."""

    sigma: Float[Array, ""]


class Piece(NamedTuple):
    """State of the piecewise world."""

    theta: Float[Array, "K d"]
    round: Int[Array, ""]


def drifting_linear(
    *,
    context_dim: ContextDim = 10,
    num_actions: NumActions = 5,
    sigma: Sigma = 0.1,
    angle: Annotated[Traced, Interval(ge=0, le=180), doc("degrees by which a random plane turns each round")] = 5.0,
    min_actions: MinActions = 0,
) -> tuple[Environment[DriftParams, Array], DriftParams]:
    """Pay r ~ N(theta_a'x, sigma^2), x ~ N(0, I); each round one Givens rotation turns all unit vectors theta_a.

    Its plane is that of two random coordinates, either way round, so E theta(n) = (1 - 2/d (1 - cos angle))^n theta(0).
    Source: Guadarrama et al. 2018, "TF-Agents", the drifting linear environment,
    https://github.com/tensorflow/agents/blob/master/tf_agents/bandits/environments/drifting_linear_environment.py.
    """

    def respond(
        key: Key[Array, ""], params: DriftParams, theta: Array, context: Context, means: Array, action: Array
    ) -> tuple[Array, Outcome]:
        pay_key, turn_key = prng.split(key)
        return _turned(turn_key, theta, params.angle), gaussian_outcome(pay_key, context, means, action, params.sigma)

    def observe(key: Key[Array, ""], params: DriftParams, theta: Array, batch_size: int) -> tuple[Context, Array]:
        return _observe(key, theta, batch_size)

    def init(key: Key[Array, ""], params: DriftParams) -> Array:
        return _unit(key, num_actions, context_dim)

    params = DriftParams(floats(sigma), jnp.deg2rad(jnp.float32(angle)))
    environment = Environment(Spec(num_actions, context_dim, 0), init, observe, respond)
    return offer_some(environment, min_actions), params


def piecewise(
    *,
    context_dim: ContextDim = 10,
    num_actions: NumActions = 5,
    sigma: Sigma = 0.1,
    period: Annotated[int, Ge(1), doc("rounds for which theta stays as it is")] = 500,
    min_actions: MinActions = 0,
) -> tuple[Environment[PieceParams, Piece], PieceParams]:
    """Pay r ~ N(theta_a'x, sigma^2), x ~ N(0, I); all unit vectors theta_a are drawn anew every `period` rounds.

    Source: Guadarrama et al. 2018, "TF-Agents", the piecewise stochastic environment,
    https://github.com/tensorflow/agents/tree/master/tf_agents/bandits/environments.
    """

    def respond(
        key: Key[Array, ""], params: PieceParams, state: Piece, context: Context, means: Array, action: Array
    ) -> tuple[Piece, Outcome]:
        pay_key, theta_key = prng.split(key)
        round = state.round + 1
        theta = jnp.where(round % period == 0, _unit(theta_key, num_actions, context_dim), state.theta)
        return Piece(theta, round), gaussian_outcome(pay_key, context, means, action, params.sigma)

    def observe(key: Key[Array, ""], params: PieceParams, state: Piece, batch_size: int) -> tuple[Context, Array]:
        return _observe(key, state.theta, batch_size)

    def init(key: Key[Array, ""], params: PieceParams) -> Piece:
        return Piece(_unit(key, num_actions, context_dim), jnp.zeros((), jnp.int32))

    environment = Environment(Spec(num_actions, context_dim, 0), init, observe, respond)
    return offer_some(environment, min_actions), PieceParams(floats(sigma))


def _unit(key: Key[Array, ""], *shape: int) -> Float[Array, "K d"]:
    """Draw unit vectors, so that the mean reward of every arm is N(0, 1) over the users."""
    return _normalized(jax.random.normal(key, shape))


def _normalized(theta: Float[Array, "K d"]) -> Float[Array, "K d"]:
    return theta / jnp.linalg.norm(theta, axis=1, keepdims=True)


def _turned(key: Key[Array, ""], theta: Float[Array, "K d"], angle: Float[Array, ""]) -> Float[Array, "K d"]:
    """Rotate all rows in the plane of two random coordinates; lengths are restored, lest rounding adds up."""
    i, j = jax.random.permutation(key, theta.shape[1])[:2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = theta[:, i], theta[:, j]
    return _normalized(theta.at[:, i].set(cos * x - sin * y).at[:, j].set(sin * x + cos * y))


def _observe(key: Key[Array, ""], theta: Float[Array, "K d"], batch_size: int) -> tuple[Context, Array]:
    user = jax.random.normal(key, (batch_size, theta.shape[1]))
    means = einsum("bd,kd->bk", user, theta)
    return Context(user=user, user_id=jnp.arange(batch_size)), means
