"""A lane's numbers whatever runs beside it: alone, among 2, 7 and 40 others, in tiles, on one, two and eight devices.

No line here knows an agent: new ones are tested by being registered.
"""

from functools import cache

import jax
import numpy as np
import pytest

from jaxbandit.agents import AGENTS
from jaxbandit.simulation import lanes as sweep

from .support import home, make_agent, traced_values, world

BATCH, SEEDS, VALUES, ROUNDS, LONG = 8, 8, 41, 60, 2000
ROOT = jax.random.key(11)
# Which values, how many of them in a row, lanes of a tile at most, devices.
COMPANIES = {
    "alone": (range(20, 21), 1, None, 1),
    "among 2 others": (range(0, VALUES, 20), 3, None, 1),
    "among 7 others": (range(0, VALUES, 6), 8, None, 1),
    "in tiles": (range(VALUES), 3, 12, 1),
    "on two devices": (range(VALUES), VALUES, None, 2),
    "on eight devices": (range(VALUES), VALUES, None, 8),
}
QUICK = "exp3"  # what it has learned depends on its probabilities, which are exponentials


def values(agent: str) -> dict[str, np.ndarray]:
    """From half of its default to all of it, of each traced setting."""
    ends = {name: np.asarray(v) for name, v in traced_values(agent).items()}
    return {name: np.float32(np.geomspace(low, high, VALUES)) for name, (high, low) in ends.items()}


@cache
def regret(
    agent: str, some: range, columns: int, max_lanes: int | None, num_devices: int, rounds: int = ROUNDS
) -> np.ndarray:
    """Regret [S, H] of each lane."""
    environment, params = world(agent, home(agent))
    grid = {name: v[list(some)] for name, v in values(agent).items()}
    size = sweep.size(grid)
    simulation = sweep.Simulation(environment, params, make_agent(agent, environment), grid, BATCH)
    tiles = sweep.layout(size, SEEDS, num_devices=num_devices, columns=min(columns, size), max_lanes=max_lanes)
    devices = jax.devices()[:num_devices]
    program = sweep.compile_program(ROOT, simulation, tiles[0].config.shape, num_points=1, devices=devices)
    found = np.full((SEEDS, size), np.nan, np.float32)
    for tile in tiles:
        _, metrics = program.advance(program.begin(tile), tile, np.array([0, rounds], np.int32))
        there = tile.config >= 0
        found[np.broadcast_to(tile.seed[:, None], there.shape)[there], tile.config[there]] = metrics.regret[there][:, 0]
    return found


CASES = [
    pytest.param(agent, company, marks=() if agent == QUICK else pytest.mark.slow)
    for agent in AGENTS
    for company in COMPANIES
]


@pytest.mark.parametrize(("agent", "company"), CASES)
def test_a_lane_is_the_same_in_any_company(agent, company):
    some, *others = COMPANIES[company]
    crowd = regret(agent, range(VALUES), VALUES, None, 1)
    expected = crowd[:, list(some)] if crowd.shape[1] > 1 else crowd
    # Draws are equal; a sum in another order may flip a near-tie, which can spread.
    np.testing.assert_allclose(regret(agent, some, *others).mean(axis=0), expected.mean(axis=0), rtol=1e-3)


@pytest.mark.parametrize("company", COMPANIES)
def test_a_lane_of_exp3_ends_in_the_same_bits_in_any_company(company):
    # Its probabilities are exponentials of what it has learned, and differ in the last place between programs: without
    # whole numbers a draw flips in thousands of rounds, and what is learned of it makes others flip.
    some, *others = COMPANIES[company]
    crowd = regret("exp3", range(VALUES), VALUES, None, 1, LONG)
    np.testing.assert_array_equal(regret("exp3", some, *others, LONG), crowd[:, list(some)])
