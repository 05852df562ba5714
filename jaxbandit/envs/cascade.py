"""The cascade of a slate: a user looks at ranked arms from the top down and clicks the first one that attracts.

It knows no arms that a user looks at after the click.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Interval, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError
from jaxbandit._core.linalg import einsum
from jaxbandit.envs.outcome import slate_outcome
from jaxbandit.types import Context, Environment, Outcome, Spec, Traced


class CascadeParams(NamedTuple):
    """Log-odds that an average arm attracts."""

    offset: Float[Array, ""]


class Tastes(NamedTuple):
    """Hidden, drawn for each simulation: user u weighs the features of arms by common + personal u."""

    common: Float[Array, " Da"]
    personal: Float[Array, "Da Du"]


def cascade(
    *,
    num_actions: Annotated[int, Ge(2), doc("arms offered, K")] = 10,
    slate_size: Annotated[int, Ge(2), doc("arms shown to a user, one below the other")] = 3,
    user_dim: Annotated[int, Ge(1), doc("features of a user")] = 4,
    arm_dim: Annotated[int, Ge(1), doc("features of an arm")] = 5,
    attraction: Annotated[Traced, Interval(gt=0, lt=1), doc("probability that an average arm attracts")] = 0.2,
) -> tuple[Environment[CascadeParams, Tastes], CascadeParams]:
    """Show a slate; its user looks from the top down and clicks the first arm that attracts, or none.

    Arm v attracts user u with the probability sigmoid(logit(attraction) + v'(common + personal u)), u and v ~ N(0, I).
    The reward is 1 at the click; what lies below was not looked at. A slate is worth the probability of a click.
    Source: Kveton, Szepesvári, Wen & Ashkan 2015, "Cascading bandits: learning to rank in the cascade model",
    https://arxiv.org/abs/1502.02763.

    Raises:
        InputError: slates longer than the arms.
    """
    if slate_size > num_actions:
        raise InputError(f"slate_size is {slate_size}, but {num_actions} arms are offered; allowed: 2 to {num_actions}")

    def init(key: Key[Array, ""], params: CascadeParams) -> Tastes:
        common_key, personal_key = prng.split(key)
        common = jax.random.normal(common_key, (arm_dim,)) / arm_dim**0.5
        return Tastes(common, jax.random.normal(personal_key, (arm_dim, user_dim)) / (arm_dim * user_dim) ** 0.5)

    def observe(key: Key[Array, ""], params: CascadeParams, state: Tastes, batch_size: int) -> tuple[Context, Array]:
        user_key, arm_key = prng.split(key)
        user = jax.random.normal(user_key, (batch_size, user_dim))
        arms = jax.random.normal(arm_key, (batch_size, num_actions, arm_dim))
        weights = state.common[None] + einsum("bu,au->ba", user, state.personal)
        means = jax.nn.sigmoid(params.offset + einsum("bka,ba->bk", arms, weights))
        return Context(user=user, user_id=jnp.arange(batch_size), arms=arms), means

    def respond(
        key: Key[Array, ""], params: CascadeParams, state: Tastes, context: Context, means: Array, action: Array
    ) -> tuple[Tastes, Outcome]:
        return state, slate_outcome(context, means, action, clicks(key, means, action))

    spec = Spec(num_actions, user_dim, arm_dim, reward_range=(0.0, 1.0), slate_size=slate_size)
    odds = jnp.float32(attraction) / (1 - jnp.float32(attraction))
    return Environment(spec, init, observe, respond), CascadeParams(jnp.log(odds))


def clicks(key: Key[Array, ""], means: Float[Array, "B K"], action: Int[Array, "B M"]) -> Float[Array, "B M"]:
    """Draw which arms attract; 1 at the first of them."""
    attracts = jax.random.uniform(key, action.shape) < jnp.take_along_axis(means, action, axis=1, mode="clip")
    return (attracts & (jnp.cumsum(attracts, axis=1) == 1)).astype(means.dtype)
