"""The promises about lanes: what their numbers depend on, and what their program holds. The contract has the rest."""

import threading
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit.data.synthetic import World, generate
from jaxbandit.envs.matrix_factorization.worlds import mf, mf_per_arm
from jaxbandit.experiments.config import Config, checked
from jaxbandit.simulation import chunks
from jaxbandit.simulation import lanes as sweep
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.rounds import Lane, simulate, start

from .support import bounded, compilations, make_agent, recorded, small_ratings, small_world

BATCH, EDGES = 8, np.array([0, 20, 40], np.int32)
ROOT = jax.random.key(3)
ALPHAS = jnp.array([0.1, 1.0, 10.0])
THREE = jnp.arange(3, dtype=jnp.uint32)


@cache
def run(env: str = "mf-per-arm", *, seeds: int = 3, configurations: int = 1, devices: int = 8, reacts: bool = False):
    """Checksums [S] or [S, H] and metrics [S, H, W] of LinUCB with a few values of alpha."""
    environment, params = small_world(env)
    environment = recorded(environment, reacts=reacts)
    grid = {"alpha": ALPHAS[:configurations]}
    simulation = sweep.Simulation(environment, params, make_agent("linucb", environment), grid, BATCH)
    lanes = sweep.compile_lanes(ROOT, simulation, num_seeds=seeds, num_points=2, devices=jax.devices()[:devices])
    carry, metrics = lanes.advance(lanes.begin(), EDGES)
    return np.asarray(carry.environment.checksum), jax.tree.map(np.asarray, metrics)


OTHER_COMPANY = {
    "alone": {"seeds": 1},
    "among 16 seeds": {"seeds": 16},
    "on one device": {"devices": 1},
    "beside other configurations": {"configurations": 3},
}


@pytest.mark.parametrize("env", ["mf-per-arm", "linear-per-arm"])
@pytest.mark.parametrize("company", OTHER_COMPANY)
def test_a_lane_is_the_same_whatever_runs_beside_it(env, company):
    checksum, metrics = run(env)
    other_checksum, other = run(env, **OTHER_COMPANY[company])
    assert checksum[0] == other_checksum[0]  # every draw, bit for bit
    # Sums in another order may flip a near-tie, which can spread.
    np.testing.assert_allclose(other.regret[0, 0], metrics.regret[0, 0], rtol=1e-3)
    np.testing.assert_allclose(other.optimal[0, 0], metrics.optimal[0, 0], rtol=1e-5)


def test_seeds_differ_and_so_do_roots():
    checksum, _ = run(seeds=16)
    assert len(set(checksum.tolist())) == 16
    assert not np.array_equal(sweep.seed_keys(jax.random.key(4), THREE), sweep.seed_keys(ROOT, THREE))


def test_all_configurations_of_a_seed_meet_the_same_users_and_arms():
    checksum, metrics = run(configurations=3, reacts=True)
    assert checksum.shape[1] == 3
    assert np.all(checksum == checksum[:, :1])
    assert not np.array_equal(metrics.regret[:, 0], metrics.regret[:, 2])  # although they act otherwise


def test_rounds_cut_in_any_way_give_the_same_bits():
    environment, params = small_world("mf-per-arm")
    simulation = sweep.Simulation(environment, params, make_agent("lints", environment), {"alpha": ALPHAS}, BATCH)
    lanes = sweep.compile_lanes(ROOT, simulation, num_seeds=2, num_points=2)

    def cut(*chunks):
        carry, rows = lanes.begin(), []
        for chunk in chunks:
            carry, metrics = lanes.advance(carry, np.array(chunk))
            rows.append(jax.tree.map(lambda x: np.asarray(x)[:2], metrics))
        return jax.tree.map(np.asarray, carry), jax.tree.map(lambda *x: np.concatenate(x, axis=-1), *rows)

    end, rows = cut([0, 10, 20], [20, 30, 40])
    same_end, same_rows = cut([0, 10, 10], [10, 20, 30], [30, 40, 40])
    kept = [0, 2, 3, 4]  # the others are empty
    other_end, _ = cut([0, 1, 37], [37, 37, 40])
    jax.tree.map(np.testing.assert_array_equal, end, same_end)
    jax.tree.map(np.testing.assert_array_equal, end, other_end)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[..., kept]), rows, same_rows)


def test_a_thousand_values_of_alpha_compile_as_often_as_one():
    environment, params = small_world("linear")
    counts = []
    for count in (1, 1_000):
        traces = []

        def factory(traces=traces, **values):
            traces.append(values)
            return make_agent("linucb", environment)(**values)

        grid = {"alpha": jnp.linspace(0.1, 2, count)}
        before = len(compilations())
        simulation = sweep.Simulation(environment, params, factory, grid, 4)
        lanes = sweep.compile_lanes(ROOT, simulation, num_seeds=1, num_points=1)
        counts.append((len(traces), len(compilations()) - before))
        _, metrics = lanes.advance(lanes.begin(), np.array([0, 5]))
        assert metrics.regret.shape == (1, count, 1)
    assert counts[0][1] > 0  # the listener hears
    assert counts[1][0] == counts[0][0] == 2
    assert counts[1][1] <= counts[0][1]


@pytest.mark.parametrize("agent", ["linucb", "neural-boltzmann"])
def test_no_array_of_the_world_is_a_constant_of_the_program(agent):
    def program(ratings) -> str:
        environment, params = mf_per_arm(ratings, num_actions=5, rank_k=3, factorizer="residual_svd")
        policy = make_agent(agent, environment)()

        def everything(key, params):
            lane = Lane(environment, params, policy, BATCH)
            return simulate(key, lane, start(key, lane), jnp.array([0, 2], jnp.int32))

        return jax.jit(everything).lower(ROOT, params).as_text()

    larger = generate("larger", World(num_users=600, num_items=400, activity_scale=10.0, popularity_sd=1.0, seed=0))
    # A constant would make the text grow with the data; what remains are digits of sizes, and another branch.
    assert len(program(larger)) < len(program(small_ratings())) + 5_000


def test_memory_does_not_grow_with_rounds(tmp_path):
    """Neither what a call of the program needs, nor what is on the devices between calls."""
    environment, params = small_world("mf-per-arm")
    simulation = sweep.Simulation(environment, params, make_agent("linucb", environment), {"alpha": ALPHAS}, BATCH)
    needs, held = [], []
    for rounds in (60, 10**6):
        edges = chunks.edges_of(rounds)
        sizes = {"num_seeds": 2, "num_points": chunks.points_of_calls(edges)}
        program, tiles = sweep.compile_tiles(ROOT, simulation, **sizes)
        work = chunks.Work(program, tiles, np.arange(len(ALPHAS)), 2, BATCH, edges)
        state = chunks.start(work, None)
        assert state.sums.shape[1] <= 2 * chunks.POINTS
        needs.append((program.nbytes, sum(leaf.nbytes for leaf in jax.tree.leaves(state.carry))))
        if rounds == 60:  # to the end, two rounds a call
            watch, never = lambda _: held.append(sum(x.nbytes for x in jax.live_arrays())), threading.Event()
            how = {"every": 10**9, "watch": watch, "stop": never, "trace": lambda: None}
            chunks.advance(work, state, Checkpoints(epath.Path(tmp_path)), **how)
    assert needs[0][0] > 0
    assert len(set(needs)) == 1
    assert len(held) == 30
    assert max(held[5:-1]) <= held[4]  # at the end the agents' states are looked at, by shards


LINEAR = [("linucb", {"features": f}) for f in ("concat", "hadamard", "outer")] + [
    ("lints", {"sampling": s}) for s in ("theta", "arm")
]
LINEAR += [(name, {}) for name in ("nig-lints", "discounted-linucb", "logistic-ucb")]


@pytest.mark.parametrize(("agent", "settings"), LINEAR)
@pytest.mark.parametrize("env", ["linear", "linear-per-arm", "mf-per-arm"])
def test_every_product_of_a_linear_agent_has_full_precision(agent, settings, env):
    environment, params = small_world(env)
    if agent.startswith("logistic"):
        environment = bounded(environment)
    policy = make_agent(agent, environment, **settings)()

    def round_of_agent(key, params):
        lane = Lane(environment, params, policy, BATCH)
        return simulate(key, lane, start(key, lane), jnp.array([0, 1], jnp.int32))

    products = [
        line for line in jax.jit(round_of_agent).lower(ROOT, params).as_text().splitlines() if "dot_general" in line
    ]
    assert products
    # The default is TF32 on GPUs and bfloat16 on TPUs, which no test on a CPU would feel.
    assert [line for line in products if "precision = [HIGHEST, HIGHEST]" not in line] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"agent": "nobody"},
        {"env": "nowhere"},
        {"batch_size": 0},
        {"agent_settings": {"alpha": -1}},
        {"agent_settings": {"tikhonov_weight": 0}},
        {"agent_settings": {"gamma": 1.5}},
        {"agent_settings": {"alhpa": 1}},
        {"agent": "greedy", "agent_settings": {"epsilon": 2}},
        {"env_settings": {"num_actions": 1}},
        {"env_settings": {"rank_k": "many"}},
    ],
    ids=str,
)
def test_bad_settings_are_refused_before_anything_is_compiled(settings):
    before = len(compilations())
    with pytest.raises(InputError):
        checked(Config(**settings))
    assert len(compilations()) == before


def test_a_batch_of_more_users_than_there_are_is_refused():
    environment, params = mf(small_ratings(), num_actions=5, rank_k=3, factorizer="residual_svd")
    simulation = sweep.Simulation(environment, params, make_agent("uniform", environment), {}, 61)
    with pytest.raises(InputError, match="batch_size is 61"):
        sweep.compile_lanes(ROOT, simulation, num_seeds=1, num_points=1)
