"""Interactions recorded around any agent: its state keeps those of the last rounds. It writes no files.

Nothing else in a simulation knows of it, so the program of one that is not recorded stays as it is.
"""

import math
from dataclasses import replace
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from jaxbandit._core.selection import entries
from jaxbandit.types import Agent, Context, Decision, Environment, Interaction

CHUNK_BYTES = 2**24  # of the interactions of all seeds that wait on the device until they are written
SAMPLES_AT_ONCE = 8
SAMPLE_KEY = 2**32 - 1  # folded into the key of `select`; an agent splits that key into children of small numbers


Params = TypeVar("Params")
State = TypeVar("State")


class Record(NamedTuple):
    """Interactions of one round, or of several with a leading axis."""

    user: Float[Array, "*n B Du"]
    user_id: Int[Array, "*n B"]
    arms: Float[Array, "*n B K Da"] | None
    arm_id: Int[Array, "*n B K"] | None
    mask: Bool[Array, "*n B K"] | None
    action: Int[Array, "*n B"]
    reward: Float[Array, "*n B"]
    weight: Float[Array, "*n B"]
    propensity: Float[Array, "*n B"]


class Recorded(NamedTuple):
    """State of an agent that is recorded."""

    agent: PyTree
    rounds: Record  # round r lies at r modulo their number


class Memory(NamedTuple):
    """What the recorded agent wants back when it learns, and the propensity of its action."""

    agent: PyTree[Shaped[Array, "B ..."]]
    propensity: Float[Array, " B"]


def example(environment: Environment[Params, State], params: Params, batch_size: int) -> Context:
    """Shapes of what a world shows in one round."""

    def observe(key: Key[Array, ""], params: Params) -> Context:
        return environment.observe(key, params, environment.init(key, params), batch_size)[0]

    return jax.eval_shape(observe, jax.random.key(0), params)


def rounds_per_chunk(context: Context, num_seeds: int) -> int:
    """Rounds of all seeds that are written at a time: as many as fit CHUNK_BYTES, at least one."""
    record = jax.eval_shape(lambda: _empty(context, 1))
    of_a_round = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(record))
    return max(1, CHUNK_BYTES // (of_a_round * num_seeds))


def catalogue(environment: Environment[Params, State], params: Params) -> np.ndarray | None:
    """Features [N, Da] of the items that a world shows; None where it has no catalogue."""
    key = jax.random.key(0)
    context, _ = environment.observe(key, params, environment.init(key, params), 1)
    return None if context.catalogue is None else np.asarray(context.catalogue.features)


def recorded(agent: Agent, context: Context, num_rounds: int, samples: int) -> Agent[Recorded]:
    """Let an agent keep its interactions of the last `num_rounds` rounds; it acts and learns as it did.

    Propensities are exact where the agent tells its probabilities, else estimated from `samples` more draws. An agent
    that takes slates cannot be recorded.
    """

    def select(key: Key[Array, ""], state: Recorded, context: Context) -> Decision:
        decision = agent.select(key, state.agent, context)
        return decision._replace(
            memory=Memory(decision.memory, propensity(key, agent, state.agent, context, decision.action, samples))
        )

    def update(key: Key[Array, ""], state: Recorded, seen: Interaction) -> Recorded:
        record = Record(
            **_shown(seen.context),
            action=seen.action,
            reward=seen.reward,
            weight=seen.weight,
            propensity=seen.memory.propensity,
        )
        place = seen.round % num_rounds

        def write(kept: Array, value: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(kept, value.astype(kept.dtype), place, 0)

        learned = agent.update(key, state.agent, seen._replace(memory=seen.memory.agent))
        return Recorded(learned, jax.tree.map(write, state.rounds, record))

    return replace(
        agent,
        init=lambda key: Recorded(agent.init(key), _empty(context, num_rounds)),
        select=select,
        update=update,
        probabilities=None,
    )


def propensity(
    key: Key[Array, ""], agent: Agent[State], state: State, context: Context, action: Int[Array, " B"], samples: int
) -> Float[Array, " B"]:
    """Probability with which the agent took its action.

    Where the agent does not tell it, (1 + hits) / (1 + samples), counting the action itself: never zero, and the mean
    of its inverse is (1 - (1 - p)^(samples + 1)) / p, close to 1/p.
    """
    if agent.probabilities is not None:
        exact = entries(agent.probabilities(state, context), action)
        return jnp.where(exact > 0, exact, 0.5)  # it was taken, so it tied with the best but for rounding
    hits = jnp.zeros(action.shape)
    if samples:
        same = jax.lax.map(
            lambda again: agent.select(again, state, context).action == action,
            jax.random.split(jax.random.fold_in(key, jnp.uint32(SAMPLE_KEY)), samples),
            batch_size=min(samples, SAMPLES_AT_ONCE),
        )
        hits = jnp.sum(same, axis=0, dtype=jnp.float32)
    return (1 + hits) / (1 + samples)


def probabilities(
    key: Key[Array, ""], agent: Agent[State], state: State, context: Context, num_actions: int, samples: int
) -> Float[Array, "B K"]:
    """Probability with which the agent takes each arm; where it does not tell, the shares of `samples` draws."""
    if agent.probabilities is not None:
        return agent.probabilities(state, context)

    def draw(total: Array, again: Key[Array, ""]) -> tuple[Array, None]:
        action = agent.select(again, state, context).action
        return total + jax.nn.one_hot(action, num_actions), None

    nothing = jnp.zeros((context.user.shape[0], num_actions))
    return jax.lax.scan(draw, nothing, jax.random.split(key, samples))[0] / samples


def _shown(context: Context) -> dict[str, PyTree]:
    """Select what is recorded of a context: of arms from a catalogue, their ids alone."""
    return {name: getattr(context, name) for name in ("user", "user_id", "arms", "arm_id", "mask")}


def _empty(context: Context, num_rounds: int) -> Record:
    """Make the record of `num_rounds` rounds, all zeros."""

    def zeros(shape: tuple[int, ...], dtype: type | np.dtype) -> Array:
        return jnp.zeros((num_rounds, *shape), dtype)

    batch = context.user.shape[:1]
    shown = jax.tree.map(lambda x: zeros(x.shape, x.dtype), _shown(context))
    action, *numbers = (zeros(batch, dtype) for dtype in (np.int32, np.float32, np.float32, np.float32))
    return Record(**shown, action=action, reward=numbers[0], weight=numbers[1], propensity=numbers[2])
