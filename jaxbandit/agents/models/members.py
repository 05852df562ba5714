"""Values of every user by one network of several, each user's own. It knows no agents and draws nothing.

A CPU evaluates all networks for all users and takes what it needs. TPUs and GPUs evaluate one network for each user:
users are sorted by their network into groups of eight, filled up where users run out.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxbandit._core import platforms
from jaxbandit._core.selection import entries
from jaxbandit.types import Context

GROUP = 8  # users of a group; those of a vector register's sublanes
Predict = Callable[[PyTree, Context], Float[Array, "B K"]]


def values_of_members(
    predict: Predict, params: PyTree, context: Context, member: Int[Array, " B"]
) -> Float[Array, "B K"]:
    """Predict by network member[b] of those whose parameters are stacked in `params`, for user b."""
    grouped = partial(_grouped, predict) if _worth_it(params, context) else partial(_of_all, predict)
    return platforms.choose(partial(_of_all, predict), tpu=grouped, cuda=grouped)(params, context, member)


def _worth_it(params: PyTree, context: Context) -> bool:
    """Whether arms are most of the work, and groups have less than half of it."""
    batch, networks = context.user.shape[0], jax.tree.leaves(params)[0].shape[0]
    if context.arms is None and context.arm_id is None:
        return False
    return 2 * _groups(batch, networks) * GROUP <= networks * batch


def _groups(batch: int, networks: int) -> int:
    """Count the groups that are enough however the users are spread."""
    return (batch + networks * (GROUP - 1)) // GROUP


def _of_all(predict: Predict, params: PyTree, context: Context, member: Int[Array, " B"]) -> Float[Array, "B K"]:
    values = jax.vmap(predict, (0, None))(params, context)
    return entries(jnp.moveaxis(values, 0, -1), jnp.broadcast_to(member[:, None], values.shape[1:]))


def _grouped(predict: Predict, params: PyTree, context: Context, member: Int[Array, " B"]) -> Float[Array, "B K"]:
    batch, networks = member.shape[0], jax.tree.leaves(params)[0].shape[0]
    groups = _groups(batch, networks)
    own = (member[:, None] == jnp.arange(networks, dtype=jnp.int32)[None]).astype(jnp.int32)
    rank = jnp.cumsum(own, axis=0)  # of a user among those of the same network, from 1
    ends = jnp.cumsum((rank[-1] + GROUP - 1) // GROUP)
    first = ends - (rank[-1] + GROUP - 1) // GROUP
    place = jnp.sum(own * (first[None] * GROUP + rank - 1), axis=1)
    network = jnp.sum(ends[None] <= jnp.arange(groups, dtype=jnp.int32)[:, None], axis=1, dtype=jnp.int32)
    at = place[:, None] == jnp.arange(groups * GROUP, dtype=jnp.int32)[None]
    user = jnp.sum(jnp.where(at, jnp.arange(batch, dtype=jnp.int32)[:, None], 0), axis=0).reshape(groups, GROUP)
    of_groups = jax.tree.map(lambda leaf: leaf[jnp.minimum(network, networks - 1)], params)

    def of_group(params: PyTree, user: Int[Array, " 8"]) -> Float[Array, "8 K"]:
        arms, arm_id = (leaf if leaf is None else leaf[user] for leaf in (context.arms, context.arm_id))
        return predict(params, Context(context.user[user], context.user_id[user], arms, arm_id, context.catalogue))

    values = jax.vmap(of_group)(of_groups, user)
    return values.reshape(groups * GROUP, -1)[place]
