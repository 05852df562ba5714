"""Every agent's whole program lowers for GPU and TPU. It is traced and lowered here, not compiled: no such hardware."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.simulation import rounds
from jaxbandit.types import Decision
from tests.support import make_agent, small_world
from tests.test_contract import world

BATCH, LANES, PLATFORMS = 8, 3, ("tpu", "cuda")
EDGES = np.array([0, 10, 20], np.int32)


def export(environment, params, factory, **traced: jax.Array) -> jax.export.Exported:
    """Lower the start and two rows of a few lanes. Refused are callbacks and custom calls that are not stable."""

    def lane(params, edges, key, hyperparameters):
        lane = rounds.Lane(environment, params, factory(**hyperparameters), BATCH)
        return rounds.simulate(key, lane, rounds.start(key, lane), edges)

    program = jax.jit(lambda params, edges, keys, grid: jax.vmap(partial(lane, params, edges))(keys, grid))
    lane_keys = jax.random.split(jax.random.key(0), LANES)
    return jax.export.export(program, platforms=PLATFORMS)(params, EDGES, lane_keys, traced)


PAIRS = [(agent, env) for agent in AGENTS for env in ("mf-per-arm", "mf", "cascade") if world(agent, env)]


@pytest.mark.parametrize(("agent", "env"), PAIRS)
def test_every_agent_lowers_for_gpu_and_tpu(agent, env):
    settings = hyperparameters(AGENTS[agent]).values()
    traced = {s.name: jnp.full(LANES, s.default, jnp.float32) for s in settings if s.is_traced}
    environment, params = world(agent, env)
    exported = export(environment, params, make_agent(agent, environment), **traced)
    assert exported.platforms == PLATFORMS
    assert exported.out_avals[-1].shape == (LANES, len(EDGES) - 1)


def test_an_agent_that_calls_back_to_the_host_is_refused():
    def factory():
        agent = make_agent("uniform", small_world("mf")[0])()

        def select(key, state, context):
            action = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
            return Decision(jax.pure_callback(np.zeros_like, action, agent.select(key, state, context).action))

        return replace(agent, select=select)

    with pytest.raises(Exception, match="callback"):
        export(*small_world("mf"), factory)
