"""The promises that hold for every simulation, each with a test that fails when it is broken."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit import features, posterior, simulate, sweep
from jaxbandit.agents import AGENTS
from jaxbandit.types import Agent, Decision

from .support import catalogue, make_agent, normal, small_world, users

ROOT = jax.random.key(3)
ALPHAS = jnp.array([0.1, 1.0, 10.0], jnp.float32)
EDGES = np.array([0, 5, 20, 21, 60], np.int32)


def lanes_of(env: str, *, num_seeds: int = 2, num_rows: int = 4, factory=None, grid=None, devices=None) -> sweep.Lanes:
    environment, params = small_world(env)
    factory = factory or make_agent("linucb", environment)
    grid = {"alpha": ALPHAS} if grid is None else grid
    return sweep.compile_lanes(
        ROOT, environment, params, factory, grid, batch_size=8, num_seeds=num_seeds, num_rows=num_rows, devices=devices
    )


def curves(lanes: sweep.Lanes, edges: np.ndarray = EDGES):
    return jax.tree.map(np.asarray, lanes.advance(lanes.begin(), edges)[1])


@pytest.mark.parametrize("num_seeds", [1, 3, 16])
def test_a_lane_does_not_depend_on_how_many_there_are(num_seeds):
    few, many = curves(lanes_of("mf-per-arm", num_seeds=2)), curves(lanes_of("mf-per-arm", num_seeds=num_seeds))
    # Sums of another program in another order; what is drawn is the same, so the optimum is to the last bits.
    np.testing.assert_allclose(many.regret[0], few.regret[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(many.optimal[0], few.optimal[0], rtol=1e-6)


def test_a_lane_does_not_depend_on_the_number_of_devices():
    one = curves(lanes_of("mf-per-arm", num_seeds=5, devices=jax.devices()[:1]))
    all_of_them = curves(lanes_of("mf-per-arm", num_seeds=5))
    assert all_of_them.regret.shape[0] >= 5
    np.testing.assert_allclose(all_of_them.regret[:5], one.regret, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(all_of_them.optimal[:5], one.optimal, rtol=1e-6)


@pytest.mark.parametrize("agent", ["linucb", "neural-epsilon-greedy"])
def test_another_cut_of_the_rounds_gives_the_same_numbers_bit_for_bit(agent):
    environment, _ = small_world("mf-per-arm")
    grid = {"alpha": ALPHAS} if agent == "linucb" else {"epsilon": ALPHAS / 10}
    lanes = lanes_of("mf-per-arm", factory=make_agent(agent, environment), grid=grid)
    end, whole = lanes.advance(lanes.begin(), EDGES)
    carry, parts = lanes.begin(), []
    for i in range(4):
        carry, part = lanes.advance(carry, np.append(EDGES[i : i + 2], [EDGES[i + 1]] * 3))
        parts.append(np.asarray(part.regret)[..., 0])
    np.testing.assert_array_equal(np.stack(parts, axis=-1), np.asarray(whole.regret))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, carry), jax.tree.map(np.asarray, end))


def test_all_configurations_of_a_seed_meet_the_same_users_and_arms():
    metrics = curves(lanes_of("mf-per-arm"))
    for field in (metrics.uniform, metrics.optimal):
        np.testing.assert_array_equal(field, np.broadcast_to(field[:, :1], field.shape))
        assert not np.array_equal(field[0], field[1])  # another seed meets others
    assert not np.array_equal(metrics.regret[:, 0], metrics.regret[:, 2])


def test_what_is_common_to_the_configurations_of_a_seed_is_computed_once():
    environment, params = small_world("mf-per-arm")
    seen = []

    def observe(key, params, state, batch_size):
        context, means = environment.observe(key, params, state, batch_size)
        jax.debug.callback(lambda _: seen.append(1), means[0, 0])
        return context, means

    watched = environment._replace(observe=observe)
    factory = make_agent("linucb", environment)
    lanes = sweep.compile_lanes(
        ROOT, watched, params, factory, {"alpha": ALPHAS}, batch_size=8, num_seeds=2, num_rows=1
    )
    jax.block_until_ready(lanes.advance(lanes.begin(), np.array([0, 5])))
    jax.effects_barrier()
    assert len(seen) == 2 * 5  # seeds x rounds, and not x configurations


def test_no_array_of_the_world_is_a_constant_of_the_program():
    environment, params = small_world("mf-per-arm")
    agent = AGENTS["linucb"](environment.spec)

    def program(params, key, edges):
        carry = simulate.start(key, environment, params, agent)
        return simulate.simulate(key, environment, params, agent, 8, carry, edges)

    constants = jax.make_jaxpr(program)(params, ROOT, jnp.array([0, 5], jnp.int32)).consts
    assert sum(np.size(x) for x in constants) < params.catalogue.features.size / 2


def test_one_program_and_one_shape_of_results_serve_any_number_of_rounds():
    lanes = lanes_of("wheel", num_rows=1)
    short, long = (lanes.advance(lanes.begin(), np.array([0, rounds])) for rounds in (10, 1000))
    assert [x.shape for x in jax.tree.leaves(short)] == [x.shape for x in jax.tree.leaves(long)]
    assert np.all(np.asarray(long[1].optimal) > np.asarray(short[1].optimal))


def equations(jaxpr, primitive: str) -> list:
    """All equations of a primitive, those of inner programs included."""
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == primitive]
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found += equations(inner, primitive) if hasattr(inner, "eqns") else []
    return found


@pytest.mark.parametrize("kind", ["concat", "hadamard", "outer"])
def test_every_product_of_a_posterior_is_at_full_precision(kind):
    table = catalogue(30, 3)
    context = users(8, 3, catalogue=table, arm_id=jnp.zeros((8, 5), jnp.int32))
    dim = {"concat": 6, "hadamard": 3, "outer": 16}[kind]

    def everything(state, noise):
        solution = posterior.solve(state, 1.0)
        x = features.joint(kind, False, context.user, table.features[:8])
        deviation = features.linear(kind, False, context, posterior.sample(solution, noise))
        return features.predict(kind, False, context, solution), deviation, posterior.update(state, x, x[:, 0], x[:, 0])

    dots = equations(jax.make_jaxpr(everything)(posterior.init(dim), normal(2, 8, dim)).jaxpr, "dot_general")
    assert dots
    assert {str(eqn.params["precision"]) for eqn in dots} == {str((jax.lax.Precision.HIGHEST,) * 2)}


def test_work_of_every_nth_round_is_skipped_in_the_others_under_vmap():
    """The round is the same in all lanes, so `lax.cond` on it stays a branch; else both sides would be computed."""
    environment, params = small_world("wheel")

    def retraining(spec, *, rate):
        def update(key, state, seen):
            return jax.lax.cond(seen.round % 10 == 9, lambda x: x + rate, lambda x: x, state)

        return Agent(lambda key: jnp.zeros(()), lambda key, state, context: Decision(context.user_id * 0), update)

    factory = partial(retraining, environment.spec)
    begin, advance = sweep._lane_functions(environment, factory, 8)
    keys, grid = sweep.seed_keys(ROOT, 2), {"rate": ALPHAS}
    arguments = (begin(keys, params, grid), keys, params, grid, jnp.array([0, 30], jnp.int32))
    assert equations(jax.make_jaxpr(advance)(*arguments).jaxpr, "cond")
    carry, _ = advance(*arguments)
    np.testing.assert_allclose(carry.agent, np.broadcast_to(3 * ALPHAS, (2, 3)), rtol=1e-6)
