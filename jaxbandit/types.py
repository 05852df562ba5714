"""The architecture in one file: what environments and agents are, what passes between them, and how arms come.

Two batch axes that are never mixed up. B, the batch: users served by one agent between two of its updates. Lanes:
independent simulations (configuration x seed); no type here knows of them, `simulation.lanes` adds them with `vmap`.
Letters: B users per round, K arms offered, Du and Da features of a user and of an arm, N items in the catalogue.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from jaxbandit._core import platforms
from jaxbandit._core.arrays import floats
from jaxbandit._core.selection import entries

Traced: TypeAlias = float | Float[Array, ""]  # a float that a sweep may vary inside one compiled program
Fact: TypeAlias = str | int | float | Mapping[str, str | int | float]  # one thing that a report says of a world

# Pytrees of arrays: what a simulation carries from round to round, and what never changes in a world. In protocols that
# only take or only return one, type checkers ask for StateIn, StateOut, ParamsIn.
State = TypeVar("State")
StateIn = TypeVar("StateIn", contravariant=True)
StateOut = TypeVar("StateOut", covariant=True)
Params = TypeVar("Params")
ParamsIn = TypeVar("ParamsIn", contravariant=True)


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


@runtime_checkable
class InitWorld(Protocol[ParamsIn, StateOut]):
    """Draw what a world starts from; `()` where nothing in it changes and nothing is hidden."""

    def __call__(self, key: Key[Array, ""], params: ParamsIn, /) -> StateOut: ...


@runtime_checkable
class Observe(Protocol[ParamsIn, StateIn]):
    """Draw the users and arms of a round, and the mean reward of every arm, which the agent does not see."""

    def __call__(
        self, key: Key[Array, ""], params: ParamsIn, state: StateIn, batch_size: int, /
    ) -> tuple[Context, Float[Array, "B K"]]: ...


@runtime_checkable
class Respond(Protocol[ParamsIn, State]):
    """Pay for the actions, whose mean rewards `observe` has returned, and go on to the next state."""

    def __call__(
        self,
        key: Key[Array, ""],
        params: ParamsIn,
        state: State,
        context: Context,
        means: Float[Array, "B K"],
        action: Int[Array, "B *M"],
        /,
    ) -> tuple[State, Outcome]: ...


@dataclass(frozen=True, eq=False)
class Environment(Generic[Params, State]):
    """How a world behaves, as pure functions. Its arrays, `params`, are always an argument, never closed over."""

    spec: Spec
    init: InitWorld[Params, State]
    observe: Observe[Params, State]
    respond: Respond[Params, State]
    facts: Mapping[str, Fact] = field(default_factory=dict)  # for the report, such as how well ratings were fitted
    reacts: bool = False  # the state depends on actions; otherwise all configurations of a seed share it


@runtime_checkable
class InitAgent(Protocol[StateOut]):
    """Make what an agent knows before the first round."""

    def __call__(self, key: Key[Array, ""], /) -> StateOut: ...


@runtime_checkable
class Select(Protocol[StateIn]):
    """Choose an arm, or a slate of arms, for each user of a batch."""

    def __call__(self, key: Key[Array, ""], state: StateIn, context: Context, /) -> Decision: ...


@runtime_checkable
class Update(Protocol[State]):
    """Learn once from a whole batch."""

    def __call__(self, key: Key[Array, ""], state: State, interaction: Interaction, /) -> State: ...


@runtime_checkable
class Probabilities(Protocol[StateIn]):
    """Tell the exact probability with which `select` takes each arm."""

    def __call__(self, state: StateIn, context: Context, /) -> Float[Array, "B K"]: ...


@dataclass(frozen=True, eq=False)
class Agent(Generic[State]):
    """A policy that learns, made by a factory inside the trace."""

    init: InitAgent[State]
    select: Select[State]
    update: Update[State]
    privileged: bool = False  # sees `Context.truth`: a bound to compare with, not a policy
    probabilities: Probabilities[State] | None = None  # None: only draws of `select` tell
    slates: bool = False  # its actions rank `Spec.slate_size` arms


@runtime_checkable
class EnvironmentFactory(Protocol):
    """Build a world and its arrays from keyword settings; worlds of ratings take those first."""

    def __call__(self, *args: Any, **settings: Any) -> tuple[Environment, PyTree]: ...


@runtime_checkable
class AgentFactory(Protocol):
    """Make an agent for a world of these sizes from keyword hyperparameters."""

    def __call__(self, spec: Spec, /, *args: Any, **hyperparameters: Any) -> Agent: ...


@runtime_checkable
class TracedFactory(Protocol):
    """An `AgentFactory` with all but the traced hyperparameters given; called inside the trace."""

    def __call__(self, **hyperparameters: Traced) -> Agent: ...


def make_catalogue(features: Float[np.ndarray, "N Da"]) -> Catalogue:
    """Make the items that all users share, with the products of their features."""
    return Catalogue(floats(features), floats(pair_products(features)))


def pair_products(features: np.ndarray) -> np.ndarray:
    """Products v_i v_j, i <= j, of each row [N, Da] -> [N, Da (Da + 1) / 2], off-diagonal ones doubled."""
    i, j = np.triu_indices(features.shape[1])
    return features[:, i] * features[:, j] * np.where(i == j, 1, 2).astype(features.dtype)


def offered_arms(context: Context) -> Float[Array, "B K Da"]:
    """Features of the offered arms."""
    if context.catalogue is None:
        assert context.arms is not None, "the arms of this context have no features"
        return context.arms
    arms = offered_rows(context, context.catalogue.features)
    return jnp.broadcast_to(arms, (context.user.shape[0], *arms.shape[1:]))


def offered_rows(context: Context, table: Shaped[Array, "N *d"]) -> Shaped[Array, "#B K *d"]:
    """Take from a table of all items the rows of those offered; the whole table, for all users, where all are."""
    return table[None] if context.arm_id is None else rows_of(table, context.arm_id)


def rows_of(table: Shaped[Array, "N *d"], item: Int[Array, "B K"]) -> Shaped[Array, "B K *d"]:
    """Take the row of each offered item; on a TPU all users of an arm side by side, so that they fill its vectors."""
    return platforms.choose(lambda: table[item], tpu=lambda: jnp.swapaxes(table[item.T], 0, 1))()


def small_catalogue(context: Context, items_per_arm: int) -> Catalogue | None:
    """Read the catalogue, where all users are offered all of it, or it has few items for each arm offered.

    Then it is less work to score each item once than each arm of each user. Not on a TPU: to gather from a table that
    is another one in each lane costs it 11 cycles a row there, compiler's model, and a row of features 2.
    """
    catalogue, arm_id = context.catalogue, context.arm_id
    if catalogue is None or arm_id is None:
        return catalogue
    most = platforms.choose(lambda: items_per_arm * arm_id.size, tpu=lambda: 0)()
    return catalogue if catalogue.features.shape[0] <= most else None


def chosen_arms(context: Context, action: Int[Array, " B"]) -> Float[Array, "B Da"]:
    """Features of the arms taken."""
    if context.catalogue is None:
        assert context.arms is not None, "the arms of this context have no features"
        return jnp.take_along_axis(context.arms, action[:, None, None], axis=1, mode="clip")[:, 0]
    item = action
    if context.arm_id is not None:
        item = entries(context.arm_id, action)
    return context.catalogue.features[item]
