"""(user, arm) -> joint features x_a of a shared model: concat, hadamard, outer. It knows no updates and no policies.

With u the user's and v the arm's features and an optional constant ("bias") in the user part:
concat [u; 1; v]; hadamard [u * v; 1]; outer [1; u] x [1; v], which holds the constant always.
`joint` is the definition; `predict` and `score` give the same numbers without forming the features of every pair.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxbandit._core import platforms
from jaxbandit._core.errors import InputError
from jaxbandit._core.linalg import einsum
from jaxbandit.agents.models import gaussian
from jaxbandit.agents.models.gaussian import Solution
from jaxbandit.types import Catalogue, Context, Spec, offered_arms, offered_rows, rows_of, small_catalogue

Features = Literal["concat", "hadamard", "outer"]
MANY_LANES = 32
ITEMS_PER_ARM = 2  # in the catalogue, for each arm offered: up to so many it is faster to score all items once


def dim(features: Features, spec: Spec, add_bias: bool) -> int:
    """Number of joint features; those of the user alone where arms are fixed.

    Raises:
        InputError: hadamard features of vectors of unequal length.
    """
    if spec.arm_dim == 0:
        return spec.user_dim + add_bias
    if features == "hadamard" and spec.user_dim != spec.arm_dim:
        raise InputError(
            f"features is 'hadamard', which needs as many user as arm features, but here they are {spec.user_dim} and "
            f"{spec.arm_dim}; allowed here: concat | outer"
        )
    sizes = {"concat": spec.user_dim + add_bias + spec.arm_dim, "hadamard": spec.user_dim + add_bias}
    return sizes.get(features, (1 + spec.user_dim) * (1 + spec.arm_dim))


def with_bias(user: Float[Array, "*n d"], add_bias: bool = True) -> Float[Array, "*n d_or_more"]:
    """Append the constant 1 to the last axis."""
    return jnp.concatenate([user, jnp.ones_like(user[..., :1])], axis=-1) if add_bias else user


def joint(
    features: Features, add_bias: bool, user: Float[Array, "*#n Du"], arm: Float[Array, "*#n Da"]
) -> Float[Array, "*#n d"]:
    """Joint features of pairs, row by row; one user may stand for many arms where both have as many axes."""
    if features == "concat":
        user = jnp.broadcast_to(user, (*arm.shape[:-1], user.shape[-1]))
        return jnp.concatenate([with_bias(user, add_bias), arm], axis=-1)
    if features == "hadamard":
        return with_bias(user * arm, add_bias)
    one_user, one_arm = (jnp.concatenate([jnp.ones_like(x[..., :1]), x], axis=-1) for x in (user, arm))
    product = one_user[..., :, None] * one_arm[..., None, :]
    return product.reshape(*product.shape[:-2], -1)


def parts(
    features: Features, add_bias: bool, user: Float[Array, "B Du"], arm: Float[Array, "B Da"]
) -> tuple[Float[Array, "B _"], ...]:
    """Joint features as pieces side by side; one that knows no arm is the same for all who meet these users."""
    if features == "concat":
        return with_bias(user, add_bias), arm
    return (joint(features, add_bias, user, arm),)


def linear(features: Features, add_bias: bool, context: Context, theta: Float[Array, "#B d"]) -> Float[Array, "B K"]:
    """Score x(u, v)'theta of every offered arm; theta is one for all users or one each.

    Every map is linear in v for a fixed user: x'theta = v'w + c, so pairs need no features of their own.
    """
    user, dim_u = context.user, context.user.shape[1]
    if features == "concat":
        cut = dim_u + add_bias
        slope, constant = theta[:, cut:], _dot_users(with_bias(user, add_bias), theta[:, :cut])
    elif features == "hadamard":
        slope = user * theta[:, :dim_u]
        constant = jnp.broadcast_to(theta[:, dim_u] if add_bias else 0.0, user.shape[:1])
    else:
        matrix = theta.reshape(theta.shape[0], 1 + dim_u, -1)
        of_users = "ij" if theta.shape[0] == 1 else "bij"
        line = matrix[:, 0] + einsum(
            f"bi,{of_users}->bj", user, matrix[0, 1:] if theta.shape[0] == 1 else matrix[:, 1:]
        )
        constant, slope = line[:, 0], line[:, 1:]
    return _dot_arms(context, slope) + constant[:, None]


def predict(
    features: Features, add_bias: bool, context: Context, solution: Solution
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Mean and variance of the reward of every offered arm under one shared model."""
    if features == "concat":
        variance = _concat_variance(add_bias, context, solution)
    elif features == "outer":
        variance = _outer_variance(context, solution)
    else:
        pairs = joint(features, add_bias, context.user[:, None], offered_arms(context))
        _, variance = gaussian.predict(solution, pairs)
    return linear(features, add_bias, context, solution.mean[None]), variance


def _dot_users(user: Float[Array, "B d"], slope: Float[Array, "#B d"]) -> Float[Array, " B"]:
    return einsum("bd,d->b", user, slope[0]) if slope.shape[0] == 1 else einsum("bd,bd->b", user, slope)


def _dot_arms(context: Context, slope: Float[Array, "#B Da"]) -> Float[Array, "#B K"]:
    """V'w of every offered arm; once per item where w is the same for all users or the whole catalogue is offered."""
    if context.catalogue is not None and context.arm_id is None:
        return einsum("bd,nd->bn", slope, context.catalogue.features)
    if slope.shape[0] == 1:
        return _per_item(context, lambda arms: einsum("d,...d->...", slope[0], arms))
    return einsum("bkd,bd->bk", offered_arms(context), slope)


def _per_item(context: Context, score: Callable[[Array], Array]) -> Float[Array, "B K"]:
    """Score items once each where that is less work than scoring the offered arms of every user."""
    catalogue = small_catalogue(context, ITEMS_PER_ARM)
    return score(offered_arms(context)) if catalogue is None else offered_rows(context, score(catalogue.features))


def _concat_variance(add_bias: bool, context: Context, solution: Solution) -> Float[Array, "B K"]:
    """X'Px = |W u|^2 + 2 v'P21u + v'P22v: a user, a cross and an item term, each computed once.

    W is triangular, so that its lower rows alone make P21 = W22'W21 and P22 = W22'W22.
    """
    user = with_bias(context.user, add_bias)
    cut = user.shape[1]
    white = einsum("bd,ed->be", user, solution.whitener[:, :cut])
    per_user = einsum("be,e->b", white * white, jnp.ones(white.shape[1]))  # XLA's fused sum on a CPU is slower
    lower = solution.whitener[cut:]
    precision = einsum("ea,ed->ad", lower[:, cut:], lower)  # [P21 P22]
    cross = _dot_arms(context, einsum("bd,ed->be", user, 2 * precision[:, :cut]))
    return jnp.maximum(per_user[:, None] + cross + _quadratic(context, precision[:, cut:]), 0)


def _quadratic(context: Context, precision: Float[Array, "Da Da"]) -> Float[Array, "#B K"]:
    """V'Pv of every offered arm; of all items and lanes ONE matrix product where the catalogue is small.

    The lane's side comes first in it, so that a lane's table is one piece of memory.
    """
    i, j = np.triu_indices(precision.shape[0])
    catalogue, arm_id = small_catalogue(context, ITEMS_PER_ARM), context.arm_id
    if catalogue is not None:
        return offered_rows(context, einsum("p,np->n", precision[i, j], catalogue.pairs))

    def direct() -> Float[Array, "B K"]:
        return _of_arms(precision, offered_arms(context))

    def on_tpu() -> Float[Array, "B K"]:
        if context.catalogue is None or arm_id is None:
            return direct()
        return _of_offered(precision, context.catalogue, arm_id)

    return platforms.choose(direct, tpu=on_tpu)()


def _of_arms(precision: Float[Array, "Da Da"], arms: Float[Array, "B K Da"]) -> Float[Array, "B K"]:
    return jnp.sum(einsum("bka,ac->bkc", arms, precision) * arms, axis=-1)


def _of_pairs(precision: Float[Array, "Da Da"], catalogue: Catalogue, arm_id: Int[Array, "B K"]) -> Float[Array, "B K"]:
    i, j = np.triu_indices(precision.shape[0])
    return einsum("p,bkp->bk", precision[i, j], rows_of(catalogue.pairs, arm_id))


def _of_few(precision: Float[Array, "Da Da"], catalogue: Catalogue, arm_id: Int[Array, "B K"]) -> Float[Array, "B K"]:
    return _of_arms(precision, rows_of(catalogue.features, arm_id))


_of_offered = jax.custom_batching.custom_vmap(_of_few)


@_of_offered.def_vmap
def _of_lanes(
    size: int, batched: list[Any], precision: Array, catalogue: Catalogue, arm_id: Array
) -> tuple[Float[Array, "n B K"], bool]:
    """V'Pv in all lanes: many that share what is offered gather the products v_i v_j once, for one matrix product."""
    shared = not any(jax.tree.leaves(batched[1:]))
    way = _of_pairs if shared and size >= MANY_LANES else _of_few
    return jax.vmap(way, jax.tree.map(lambda own: 0 if own else None, tuple(batched)))(
        precision, catalogue, arm_id
    ), True


def _outer_variance(context: Context, solution: Solution) -> Float[Array, "B K"]:
    """|W ([1; u] x [1; v])|^2 with the user contracted first: v~' M_u v~, M_u one small matrix for each user."""
    user = jnp.concatenate([jnp.ones_like(context.user[:, :1]), context.user], axis=-1)
    arms = offered_arms(context)
    arms = jnp.concatenate([jnp.ones_like(arms[..., :1]), arms], axis=-1)
    dim_u, dim_a = user.shape[1], arms.shape[-1]
    covariance = einsum("ei,ej->ij", solution.whitener, solution.whitener).reshape(dim_u, dim_a, dim_u, dim_a)
    matrix = einsum("bi,bijl->bjl", user, einsum("bk,ijkl->bijl", user, covariance))
    return jnp.maximum(jnp.sum(einsum("bka,bac->bkc", arms, matrix) * arms, axis=-1), 0)
