"""One round, and the loop over rounds, of one lane. It compiles nothing and knows no other lanes."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from jaxbandit._core import prng
from jaxbandit.simulation.metrics import RoundMetrics, measure
from jaxbandit.types import Agent, Environment, Interaction

Settings = TypeVar("Settings")


class Lane(NamedTuple):
    """One simulation: an agent in a world, and how many users it serves between two of its updates."""

    environment: Environment
    params: PyTree
    agent: Agent
    batch_size: int


class Carry(NamedTuple):
    """What passes from round to round: the states of both."""

    environment: PyTree
    agent: PyTree


def start(key: Key[Array, ""], lane: Lane) -> Carry:
    """Make the state before the first round. Rounds fold 0, 1, ... into the seed's key, and this folds -1 and -2."""
    environment_key, agent_key = (jax.random.fold_in(key, jnp.uint32(2**32 - i)) for i in (1, 2))
    return Carry(lane.environment.init(environment_key, lane.params), lane.agent.init(agent_key))


def one_round(key: Key[Array, ""], lane: Lane, carry: Carry, round: Int[Array, ""]) -> tuple[Carry, RoundMetrics]:
    """Observe B users, act with what was known before this batch, pay, learn once from the whole batch."""
    environment, params, agent, batch_size = lane
    keys = prng.split(prng.fold_in(key, round), 4)
    context, means = environment.observe(keys[0], params, carry.environment, batch_size)
    means = jax.lax.optimization_barrier(means)  # once, for reward and regret alike
    seen = context._replace(truth=means) if agent.privileged else context
    decision = agent.select(keys[1], carry.agent, seen)
    state, outcome = environment.respond(keys[2], params, carry.environment, context, means, decision.action)
    weight = jnp.ones(batch_size, jnp.float32)
    interaction = Interaction(seen, decision.action, outcome.reward, weight, round, decision.memory)
    return Carry(state, agent.update(keys[3], carry.agent, interaction)), measure(outcome)


def round_of(
    make_lane: Callable[[Settings], Lane], key: Key[Array, ""], settings: Settings, carry: Carry, round: Int[Array, ""]
) -> tuple[Carry, RoundMetrics]:
    """Make the lane of these settings, and do one of its rounds."""
    return one_round(key, make_lane(settings), carry, round)


def simulate(
    key: Key[Array, ""], lane: Lane, carry: Carry, edges: Int[Array, " P_and_1"]
) -> tuple[Carry, RoundMetrics]:
    """Run the rounds edges[0] ... edges[-1] - 1 of one lane and sum their metrics between edges, [P] each."""
    return loop(partial(one_round, key, lane), (), carry, edges)


def loop(
    step: Callable[[Carry, Int[Array, ""]], tuple[Carry, RoundMetrics]],
    shape: tuple[int, ...],
    carry: Carry,
    edges: Int[Array, " P_and_1"],
) -> tuple[Carry, RoundMetrics]:
    """Call `step` for the rounds edges[0] ... edges[-1] - 1 and sum its metrics, of this shape, between edges.

    The edges are data, not shapes: one program serves every cut of the rounds, and every cut gives the same numbers.
    """

    def add(round: Array, carry_sums: tuple[Carry, RoundMetrics]) -> tuple[Carry, RoundMetrics]:
        carry, sums = carry_sums
        carry, metrics = step(carry, round)
        return carry, jax.tree.map(jnp.add, sums, metrics)

    def point(carry: Carry, span: Array) -> tuple[Carry, RoundMetrics]:
        zeros = RoundMetrics(*(jnp.zeros(shape) for _ in RoundMetrics._fields))
        return jax.lax.fori_loop(span[0], span[1], add, (carry, zeros))

    return jax.lax.scan(point, carry, jnp.stack([edges[:-1], edges[1:]], axis=1))
