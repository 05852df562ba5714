"""Feedback that comes late, around any agent: it learns from what it did `delay` rounds ago. It changes no actions."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Shaped

from jaxbandit._core.memory import check_size
from jaxbandit.simulation import rounds
from jaxbandit.simulation.rounds import Lane
from jaxbandit.types import Agent, Context, Decision, Environment, Interaction, Traced, TracedFactory


class Delayed(NamedTuple):
    """State of an agent whose rewards arrive later."""

    agent: PyTree
    ring: PyTree[Shaped[Array, "delay ..."]]  # what is on its way; round t lies at t mod delay


def delayed(
    factory: TracedFactory, environment: Environment, params: PyTree, batch_size: int, delay: int
) -> TracedFactory:
    """Let a factory make agents that learn from each batch `delay` > 0 rounds later.

    In the first `delay` rounds nothing is due: agents then learn from a batch with weight 0, whose round is negative.
    The catalogue never changes, and is not kept. An agent whose ring would take more than 1 GiB is refused with an
    InputError when it is made.
    """
    arrays = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)

    def make(**hyperparameters: Traced) -> Agent[Delayed]:
        agent = factory(**hyperparameters)
        shapes = jax.eval_shape(partial(_first, environment, agent, batch_size), jax.random.key(0), arrays)
        check_size(shapes, delay, "delay")

        def init(key: Key[Array, ""]) -> Delayed:
            ring = jax.tree.map(lambda leaf: jnp.zeros((delay, *leaf.shape), leaf.dtype), shapes)
            return Delayed(agent.init(key), ring)

        def update(key: Key[Array, ""], state: Delayed, seen: Interaction) -> Delayed:
            slot, is_due, now = seen.round % delay, seen.round >= delay, _kept(seen)
            old = jax.tree.map(lambda ring: jax.lax.dynamic_index_in_dim(ring, slot, keepdims=False), state.ring)
            # Before anything is due the agent is shown the batch of now: zeros might be no possible context.
            context, action, reward, weight, memory = jax.tree.map(partial(jnp.where, is_due), old, now)
            context = context._replace(catalogue=seen.context.catalogue)
            due = Interaction(context, action, reward, jnp.where(is_due, weight, 0), seen.round - delay, memory)
            put = partial(jax.lax.dynamic_update_index_in_dim, index=slot, axis=0)
            return Delayed(agent.update(key, state.agent, due), jax.tree.map(put, state.ring, now))

        def select(key: Key[Array, ""], state: Delayed, context: Context) -> Decision:
            return agent.select(key, state.agent, context)

        tell = agent.probabilities
        probabilities = None if tell is None else lambda state, context: tell(state.agent, context)
        return replace(agent, init=init, select=select, update=update, probabilities=probabilities)

    return make


def _first(environment: Environment, agent: Agent, batch_size: int, key: Key[Array, ""], params: PyTree) -> PyTree:
    """What is kept of the first round, for its shapes."""
    lane = Lane(environment, params, agent, batch_size)
    witness: Agent = replace(agent, update=lambda key, state, seen: _kept(seen))
    carry, _ = rounds.one_round(key, lane._replace(agent=witness), rounds.start(key, lane), jnp.int32(0))
    return carry.agent


def _kept(seen: Interaction) -> tuple[PyTree, ...]:
    return seen.context._replace(catalogue=None), seen.action, seen.reward, seen.weight, seen.memory
