"""Every agent's whole program lowers for GPU and TPU. It is traced and lowered here, not compiled: no such hardware.

Then what an exported program does where an agent's code needs the number of users, or has an error of its own.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.policies import stablehlo
from jaxbandit.simulation import rounds
from jaxbandit.types import Context, Decision
from tests.support import home, make_agent, small_world, world

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


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.slow
def test_every_agent_lowers_for_gpu_and_tpu(agent):
    settings = hyperparameters(AGENTS[agent]).values()
    traced = {s.name: jnp.full(LANES, s.default, jnp.float32) for s in settings if s.is_traced}
    environment, params = world(agent, home(agent))
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


def lowered(choose) -> stablehlo.Program:
    """Lower an agent whose action is `choose` of the features of its users [B, 3], of which a run has BATCH."""

    def factory():
        agent = make_agent("uniform", small_world("mf")[0])()
        return replace(agent, select=lambda key, state, context: Decision(choose(context.user)))

    seen = Context(jax.ShapeDtypeStruct((BATCH, 3), jnp.float32), jax.ShapeDtypeStruct((BATCH,), jnp.int32))
    tree = {"state": (), "settings": {}}
    return stablehlo.lower(factory, lambda agent, *rest: agent.select(*rest).action, tree, seen)


@pytest.mark.parametrize(
    "choose",
    [
        lambda user: jnp.stack([jnp.int32(row) for row in range(user.shape[0])]),
        lambda user: jnp.asarray(np.zeros(user.shape[0], np.int32)),
        lambda user: jnp.zeros(int(user.shape[0]), jnp.int32),
        lambda user: jnp.zeros(user.shape[:1], jnp.int32) + (1 if user.shape[0] % 4 > 1 else 0),
        lambda user: jnp.argmax(jnp.linalg.eigh(user @ user.T)[1], axis=1).astype(jnp.int32),
    ],
    ids=["range", "NumPy", "int", "a choice", "an operation that JAX lacks"],
)
def test_code_that_needs_the_number_of_users_takes_that_of_the_run_alone(choose):
    program = lowered(choose)
    assert (program.least, program.most) == (BATCH, BATCH)


def test_other_code_takes_any_number_of_users():
    program = lowered(lambda user: jnp.argmax(user, axis=1).astype(jnp.int32))
    assert (program.least, program.most) == (1, stablehlo.MOST[0])


@pytest.mark.parametrize("is_late", [False, True], ids=["always", "for a number of users that is not fixed"])
def test_an_error_of_an_agents_own_is_raised_once_with_its_message(is_late):
    calls = []

    def choose(user):
        calls.append(user.shape[0])
        if not (is_late and isinstance(user.shape[0], int)):
            raise ValueError("no weights for these users")
        return jnp.zeros(user.shape[:1], jnp.int32)

    with pytest.raises(ValueError, match="no weights for these users"):
        lowered(choose)
    assert len(calls) == (2 if is_late else 1)
