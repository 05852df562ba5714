"""Lanes of many configurations: how they are laid out, cut into tiles, and shared by devices."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit._core.errors import InputError
from jaxbandit.simulation import lanes as sweep
from tests.support import make_agent, recorded, small_world

ROOT, EDGES = jax.random.key(5), np.array([0, 10, 20], np.int32)
CONFIGS, SEEDS, BATCH = 12, 3, 8
GRID = {"alpha": np.geomspace(0.01, 10, CONFIGS).astype(np.float32)}


sizes = st.integers(1, 30)


@settings(max_examples=300, deadline=None)
@given(sizes, sizes, st.integers(1, 9), st.none() | sizes, st.none() | st.integers(1, 200))
def test_tiles_cover_every_pair_once_in_rows_that_devices_share(configs, seeds, devices, columns, most) -> None:
    tiles = sweep.layout(configs, seeds, num_devices=devices, columns=columns, max_lanes=most)
    (rows, width), *others = {tile.config.shape for tile in tiles}
    assert not others  # one program
    assert all(tile.seed.shape == (rows,) for tile in tiles)
    assert rows % devices == 0
    assert width <= (configs if columns is None else columns)
    if most is not None:
        assert rows * width <= max(most, devices)
    pairs = [(c, s) for tile in tiles for s, row in zip(tile.seed, tile.config, strict=True) for c in row if c >= 0]
    assert sorted(pairs) == [(c, s) for c in range(configs) for s in range(seeds)]
    assert all((tile.config >= 0).any() for tile in tiles)  # none is empty


@settings(max_examples=200, deadline=None)
@given(sizes, sizes, st.integers(1, 9))
def test_devices_wait_for_each_other_as_little_as_whole_rows_allow(configs, seeds, devices) -> None:
    (tile,) = sweep.layout(configs, seeds, num_devices=devices)
    lanes = tile.config.size // devices
    splits = range(1, min(devices, configs) + 1)
    assert lanes == min(-(-seeds * n // devices) * -(-configs // n) for n in splits)


class Run(NamedTuple):
    checksums: np.ndarray  # [S, H] of all that was shown
    regret: np.ndarray  # [S, H, W]
    tiles: int
    program: sweep.Program


def run(devices: int = 8, *, columns: int | None = None, max_lanes: int | None = None, agent: str = "linucb") -> Run:
    """Simulate all tiles on the first devices."""
    environment, params = small_world("mf-per-arm")
    environment = recorded(environment, reacts=True)  # a state for each lane
    chosen = jax.devices()[:devices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jax.devices", lambda: chosen)
        simulation = sweep.Simulation(environment, params, make_agent(agent, environment), GRID, BATCH)
        numbers = {"num_seeds": SEEDS, "num_points": 2}
        program, tiles = sweep.compile_tiles(ROOT, simulation, **numbers, columns=columns, max_lanes=max_lanes)
    checksums, regret = np.zeros((SEEDS, CONFIGS), np.uint32), np.full((SEEDS, CONFIGS, 2), np.nan)
    for tile in tiles:
        carry, metrics = program.advance(program.begin(tile), tile, EDGES)
        row, column = np.nonzero(tile.config >= 0)
        place = tile.seed[row], tile.config[row, column]
        checksums[place] = np.asarray(carry.environment.checksum)[row, column]
        regret[place] = np.asarray(metrics.regret)[row, column]
    return Run(checksums, regret, len(tiles), program)


@pytest.fixture(scope="module")
def whole() -> Run:
    return run()


LAYOUTS: dict[str, dict[str, Any]] = {
    "one device": {"devices": 1},
    "three devices": {"devices": 3},
    "tiles of eight lanes": {"max_lanes": 8},
    "tiles on three devices": {"devices": 3, "columns": 5, "max_lanes": 20},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_configurations_and_seeds_are_the_same_in_every_layout(layout, whole) -> None:
    other = run(**LAYOUTS[layout])
    assert (other.tiles > 1) == layout.startswith("tiles")
    np.testing.assert_array_equal(other.checksums, whole.checksums)  # every draw, bit for bit
    # XLA sums in another order in a program of another shape, which may flip a near-tie in a lane.
    close = np.isclose(other.regret, whole.regret, rtol=1e-5, atol=1e-5).all(axis=-1)
    assert close.mean() > 0.9
    np.testing.assert_allclose(other.regret.mean(), whole.regret.mean(), rtol=1e-3)


def test_configurations_of_a_seed_share_its_draws_and_seeds_do_not(whole) -> None:
    assert np.all(whole.checksums == whole.checksums[:, :1])
    assert len(np.unique(whole.checksums[:, 0])) == SEEDS
    assert len(np.unique(whole.regret[0, :, 1])) > CONFIGS // 2  # although they act otherwise


@pytest.mark.parametrize("share", [0.8, 0.2])
def test_lanes_that_do_not_fit_the_memory_run_in_tiles_with_the_same_results(share, whole, monkeypatch) -> None:
    least = run(max_lanes=8).program.nbytes  # a lane for each device, and the tables
    budget = int(least + share * (whole.program.nbytes - least))
    monkeypatch.setattr("jaxbandit._core.memory.budget", lambda device: budget)
    cut = run()
    assert cut.program.nbytes <= budget
    assert cut.tiles > 1
    np.testing.assert_array_equal(cut.checksums, whole.checksums)
    np.testing.assert_allclose(cut.regret.mean(), whole.regret.mean(), rtol=1e-3)


def test_a_lane_that_does_not_fit_the_memory_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("jaxbandit._core.memory.budget", lambda device: 1000)
    with pytest.raises(InputError, match=r"batch_size is 8: one lane takes .* GiB, but a device has 0.0 GiB"):
        run()


@pytest.fixture
def compiled(monkeypatch) -> list[Any]:
    """Programs of advance, as XLA has compiled them."""
    found: list[Any] = []
    monkeypatch.setattr("jaxbandit._core.memory.needed", partial(_keep, found))
    return found


def _keep(found: list[Any], program: Any) -> int:
    found.append(program)
    return 0


@pytest.mark.parametrize("agent", ["lints", "neural-epsilon-greedy"])
def test_devices_exchange_nothing_inside_the_loop(agent, compiled) -> None:
    grid = {"lints": GRID, "neural-epsilon-greedy": {"epsilon": GRID["alpha"] / 10}}[agent]
    environment, params = small_world("mf-per-arm")
    simulation = sweep.Simulation(environment, params, make_agent(agent, environment), grid, BATCH)
    sweep.compile_tiles(ROOT, simulation, num_seeds=SEEDS, num_points=2)
    (program,) = compiled
    text = program.as_text()
    assert "num_partitions=8" in text
    for words in ("all-reduce", "all-gather", "all-to-all", "collective", "reduce-scatter", "send(", "recv("):
        assert words not in text, words


def test_what_all_configurations_meet_is_computed_once_for_each_seed(compiled) -> None:
    environment, params = small_world("wheel")
    hard = jnp.eye(200)

    def observe(key, params, state, batch_size):
        context, means = environment.observe(key, params, state, batch_size)
        work = jax.random.normal(key, (200, 200)) @ hard  # by far the most of the program
        return context, means + 0 * jnp.sum(work)

    def flops(configs: int, reacts: bool = False) -> float:
        world = replace(environment, observe=observe, reacts=reacts)
        grid = {"alpha": np.ones(configs, np.float32)}
        simulation = sweep.Simulation(world, params, make_agent("linucb", world), grid, 4)
        sweep.compile_lanes(ROOT, simulation, num_seeds=1, num_points=1, devices=jax.devices()[:1])
        return compiled[-1].cost_analysis()["flops"]

    assert flops(1) > 2 * 200**3
    assert flops(20) < 1.5 * flops(1)
