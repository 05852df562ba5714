"""Worlds with a linear reward: fixed arms with given parameters, and arms with features under hidden ones.

They never change; those that do are in `drifting`.
"""

from functools import partial
from typing import Annotated, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.arrays import floats
from jaxbandit._core.linalg import einsum
from jaxbandit.envs import sampling
from jaxbandit.envs.masks import MinActions, offer_some
from jaxbandit.envs.outcome import gaussian_outcome
from jaxbandit.types import Context, Environment, Outcome, Spec, Traced

State = TypeVar("State")
Sigma = Annotated[Traced, Ge(0), doc("standard deviation of the reward noise")]


class LinearParams(NamedTuple):
    """theta of each arm, and the noise."""

    theta: Float[Array, "K d"]
    sigma: Float[Array, ""]


class PerArmParams(NamedTuple):
    """The noise; theta is hidden and drawn for each simulation."""

    sigma: Float[Array, ""]


def linear(
    *,
    context_dim: Annotated[int, Ge(1), doc("features of a user, d")] = 15,
    num_actions: Annotated[int, Ge(2), doc("arms, K")] = 5,
    sigma: Sigma = 0.01,
    normalized: Annotated[bool, doc("divide mean rewards by d + K")] = False,
    min_actions: MinActions = 0,
) -> tuple[Environment[LinearParams, tuple[()]], LinearParams]:
    """Pay r ~ N(theta_a'x, sigma^2) for users x ~ U{-10..9}^d, where theta_a = (a, a + 1, ..., a + d - 1).

    Source: Guadarrama et al. 2018, "TF-Agents", the "sliding" stationary stochastic environment,
    https://github.com/tensorflow/agents/blob/master/tf_agents/bandits/environments/environment_utilities.py.
    """
    theta = np.add.outer(np.arange(num_actions), np.arange(context_dim)).astype(np.float32)
    theta /= (context_dim + num_actions) if normalized else 1

    def observe(key: Key[Array, ""], params: LinearParams, state: tuple[()], batch_size: int) -> tuple[Context, Array]:
        user = _integers(key, -10, 10, batch_size, context_dim)
        means = einsum("bd,kd->bk", user, params.theta)
        return Context(user=user, user_id=jnp.arange(batch_size)), means

    environment = Environment(Spec(num_actions, context_dim, 0), lambda key, params: (), observe, _pay)
    return offer_some(environment, min_actions), LinearParams(floats(theta), floats(sigma))


def linear_per_arm(
    *,
    user_dim: Annotated[int, Ge(1), doc("features of a user")] = 4,
    arm_dim: Annotated[int, Ge(1), doc("features of an arm")] = 5,
    num_actions: Annotated[int, Ge(2), doc("arms offered, K")] = 7,
    sigma: Sigma = 1.0,
    min_actions: MinActions = 0,
) -> tuple[Environment[PerArmParams, Array], PerArmParams]:
    """Pay r ~ N(theta'[u; v], sigma^2) for users u ~ U{-10..9}^Du and arms v ~ U{-2..2}^Da; hidden theta ~ N(0, I).

    Each seed has one theta.
    Source: Guadarrama et al. 2018, "TF-Agents", the stationary stochastic per-arm environment,
    https://github.com/tensorflow/agents/tree/master/tf_agents/bandits/environments.
    """

    def init(key: Key[Array, ""], params: PerArmParams) -> Float[Array, " d"]:
        return jax.random.normal(key, (user_dim + arm_dim,))

    def observe(key: Key[Array, ""], params: PerArmParams, theta: Array, batch_size: int) -> tuple[Context, Array]:
        user_key, arm_key = prng.split(key)
        user = _integers(user_key, -10, 10, batch_size, user_dim)
        arms = _integers(arm_key, -2, 3, batch_size, num_actions, arm_dim)
        dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        means = dot(user, theta[:user_dim])[:, None] + dot(arms, theta[user_dim:])
        return Context(user=user, user_id=jnp.arange(batch_size), arms=arms), means

    environment = Environment(Spec(num_actions, user_dim, arm_dim), init, observe, _pay)
    return offer_some(environment, min_actions), PerArmParams(floats(sigma))


def _integers(key: Key[Array, ""], start: int, stop: int, *shape: int) -> Float[Array, "..."]:
    return (start + sampling.uniform(key, stop - start, *shape)).astype(jnp.float32)


def _pay(
    key: Key[Array, ""],
    params: LinearParams | PerArmParams,
    state: State,
    context: Context,
    means: Float[Array, "B K"],
    action: Int[Array, " B"],
) -> tuple[State, Outcome]:
    return state, gaussian_outcome(key, context, means, action, params.sigma)
