"""Agents that have learned from one batch, and the policies exported from them."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

import jaxbandit
from jaxbandit.policies import export
from jaxbandit.simulation.lanes import Simulation
from jaxbandit.types import Context, Interaction
from tests.support import defaults, keys, make_agent, masked, small_world, world

BATCH = 8
KEY = jax.random.key(3)
HEAD = {"config": {"agent": "made here"}, "seed": 0, "rounds": 1}


@cache
def contexts_of(env: str) -> list[Context]:
    """Two contexts of a world, under masks."""
    environment, params = small_world(env)
    environment = masked(environment)
    observe = jax.jit(lambda key, params: environment.observe(key, params, environment.init(key, params), BATCH)[0])
    return [observe(key, params) for key in keys(2)]


@cache
def taught(agent: str, env: str):
    """A world of an agent, what it has learned from a batch, the context of the next one, and how it acts there.

    Then how likely it takes each arm, where it tells.
    """
    environment, params = world(agent, env)
    factory, values = make_agent(agent, environment), defaults(agent)

    @jax.jit
    def select(values, state, key, context):
        policy = factory(**values)
        return policy.select(key, state, context), policy.probabilities and policy.probabilities(state, context)

    first, second = contexts_of(env)
    state = jax.jit(lambda values: factory(**values).init(KEY))(values)
    decision, _ = select(values, state, KEY, first)
    reward = jax.random.uniform(KEY, decision.action.shape)
    seen = Interaction(first, decision.action, reward, jnp.ones(BATCH), jnp.int32(0), decision.memory)
    state = jax.jit(lambda values, state, seen: factory(**values).update(KEY, state, seen))(values, state, seen)
    decision, told = select(values, state, jax.random.key(5), second)
    grid = {name: np.array([value]) for name, value in values.items()}
    return Simulation(environment, params, factory, grid, BATCH), state, second, decision.action, told


@cache
def packed(agent: str, env: str):
    made, state, *_ = taught(agent, env)
    return export.pack(made, state, HEAD)


def exported(agent: str, env: str, directory: Path) -> jaxbandit.Policy:
    export.write(epath.Path(directory), *packed(agent, env))
    return jaxbandit.load_policy(directory)


def arrays_of(directory: Path) -> dict[str, np.ndarray]:
    with np.load(directory / "arrays.npz", allow_pickle=False) as archive:
        return dict(archive)
