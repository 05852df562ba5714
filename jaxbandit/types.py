"""The architecture in one file: what environments and agents are, what passes between them, and how arms come.

Two batch axes that are never mixed up. B, the batch: users served by one agent between two of its updates. Lanes:
independent simulations (configuration x seed); no type here knows of them, `simulation.lanes` adds them with `vmap`.
Letters: B users per round, K arms offered, Du and Da features of a user and of an arm, N items in the catalogue.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

Traced: TypeAlias = float | Float[Array, ""]  # a float that a sweep may vary inside one compiled program


class Spec(NamedTuple):
    """The sizes that an agent is built for."""

    num_actions: int  # K, arms offered to a user
    user_dim: int  # Du
    arm_dim: int  # Da; 0 where arms are fixed and have no features: arm k is the same arm in every round
    reward_range: tuple[float, float] = (-math.inf, math.inf)  # no reward lies outside
    slate_size: int = 1  # M, distinct arms that an action ranks; actions are [B] where it is 1, else [B, M]


class Catalogue(NamedTuple):
    """Items that all users and lanes share, so that item-side scores are computed once per item."""

    features: Float[Array, "N Da"]
    pairs: Float[Array, "N P"]  # the products v_i v_j, i <= j, off-diagonal ones doubled: v'Mv = pairs @ triangle(M)


class Context(NamedTuple):
    """What an agent may see of one round.

    Arms have features in one of three ways: none (fixed arms: `arms` and `catalogue` are None), each user's own
    (`arms`), or rows of a shared catalogue (`catalogue`; `arm_id` None means that the whole catalogue is offered).
    """

    user: Float[Array, "B Du"]
    user_id: Int[Array, " B"]
    arms: Float[Array, "B K Da"] | None = None
    arm_id: Int[Array, "B K"] | None = None
    catalogue: Catalogue | None = None
    mask: Bool[Array, "B K"] | None = None  # arms that may be taken; None: all of them
    truth: Float[Array, "B K"] | None = None  # mean rewards; filled for a `privileged` agent alone


class Decision(NamedTuple):
    """What an agent does: arms (a slate of M is a vector per user), and what it wants handed back when it learns."""

    action: Int[Array, "B *M"]
    memory: PyTree[Shaped[Array, "B ..."]] = ()  # e.g. the propensities of EXP3, the sub-agent of a mixture


class Outcome(NamedTuple):
    """What happened. Agents see only `reward`; all of it comes from one array of mean rewards."""

    reward: Float[Array, "B *M"]
    expected: Float[Array, " B"]  # mean reward of the action taken, of a slate's arms together
    optimal: Float[Array, " B"]  # mean reward of the best allowed action
    uniform: Float[Array, " B"]  # mean reward of a uniformly random allowed action


class Interaction(NamedTuple):
    """What an agent learns from: a batch of contexts, its own decisions and their rewards."""

    context: Context
    action: Int[Array, "B *M"]
    reward: Float[Array, "B *M"]
    weight: Float[Array, " B"]  # 0: not there (a delayed reward that has not arrived, another sub-agent's user)
    round: Int[Array, ""]  # of these decisions; the same in all lanes, so `lax.cond` on it skips work under vmap
    memory: PyTree[Shaped[Array, "B ..."]] = ()


class Environment(NamedTuple):
    """A world as pure functions. `params` is a pytree of arrays and always an argument, never closed over."""

    spec: Spec
    init: Callable[..., Any]  # (key, params) -> State
    observe: Callable[
        ..., tuple[Context, Float[Array, "B K"]]
    ]  # (key, params, state, batch_size) -> Context, mean rewards
    respond: Callable[..., tuple[Any, Outcome]]  # (key, params, state, context, mean rewards, action) -> State, Outcome
    facts: Mapping[str, Any] = MappingProxyType(
        {}
    )  # what the report says of this world, such as how well ratings were fitted
    reacts: bool = False  # the state depends on actions; otherwise all configurations of a seed share it


class Agent(NamedTuple):
    """A policy that learns, made by a factory `f(spec, *, hyperparameters)` inside the trace."""

    init: Callable[[Key[Array, ""]], Any]  # (key) -> State
    select: Callable[..., Decision]  # (key, state, context) -> Decision
    update: Callable[..., Any]  # (key, state, interaction) -> State
    privileged: bool = False  # sees `Context.truth`: a bound to compare with, not a policy
    # (state, context) -> exact probability that `select` takes each arm; None: only draws of `select` tell
    probabilities: Callable[..., Float[Array, "B K"]] | None = None
    slates: bool = False  # its actions rank `Spec.slate_size` arms


def make_catalogue(features: Float[np.ndarray, "N Da"]) -> Catalogue:
    """Make the items that all users share, with the products of their features."""
    return Catalogue(jnp.asarray(features), jnp.asarray(pair_products(features)))


def pair_products(features: np.ndarray) -> np.ndarray:
    """Products v_i v_j, i <= j, of each row [N, Da] -> [N, Da (Da + 1) / 2], off-diagonal ones doubled."""
    i, j = np.triu_indices(features.shape[1])
    return features[:, i] * features[:, j] * np.where(i == j, 1, 2).astype(features.dtype)


def offered_arms(context: Context) -> Float[Array, "B K Da"]:
    """Features of the offered arms."""
    if context.catalogue is None:
        assert context.arms is not None, "the arms of this context have no features"
        return context.arms
    if context.arm_id is None:
        everything = context.catalogue.features
        return jnp.broadcast_to(everything[None], (context.user.shape[0], *everything.shape))
    return context.catalogue.features[context.arm_id]


def chosen_arms(context: Context, action: Int[Array, " B"]) -> Float[Array, "B Da"]:
    """Features of the arms taken."""
    if context.catalogue is None:
        assert context.arms is not None, "the arms of this context have no features"
        return jnp.take_along_axis(context.arms, action[:, None, None], axis=1, mode="clip")[:, 0]
    if context.arm_id is None:
        return context.catalogue.features[action]
    return context.catalogue.features[jnp.take_along_axis(context.arm_id, action[:, None], axis=1, mode="clip")[:, 0]]
