"""A checkpoint's order of lanes: states that one layout saved are those of another."""

import jax
import numpy as np
import pytest

from jaxbandit.simulation import lane_order, lanes
from jaxbandit.simulation.rounds import Carry

CONFIGS, SEEDS = 5, 3


def state(tile, reacts):
    """A number for each lane and, where the world reacts to nothing, for each seed."""
    own = tile.config * 100 + tile.seed[:, None]
    return Carry(environment=own if reacts else tile.seed * 7, agent={"a": np.stack([own, -own], axis=-1)})


@pytest.mark.parametrize("reacts", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_what_any_number_of_devices_saved_fits_any_other(devices, reacts):
    (before,) = lanes.layout(CONFIGS, SEEDS, num_devices=devices)
    saved = lane_order.from_tile(state(before, reacts), before, reacts)
    assert len(saved.lanes) == CONFIGS * SEEDS
    assert len(saved.carry.environment) == (CONFIGS * SEEDS if reacts else SEEDS)
    for other in (1, 2, 3, 8):
        (after,) = lanes.layout(CONFIGS, SEEDS, num_devices=other)
        restored, expected = lane_order.to_tile(saved.carry, after, reacts), state(after, reacts)
        real = after.config >= 0
        rows = real if reacts else real.any(axis=1)
        np.testing.assert_array_equal(restored.environment[rows], expected.environment[rows])
        np.testing.assert_array_equal(restored.agent["a"][real], expected.agent["a"][real])
        shapes = jax.tree.map(np.shape, (restored, expected))
        assert shapes[0] == shapes[1]
        assert np.array_equal(lane_order.from_tile(restored, after, reacts).lanes, saved.lanes)


@pytest.mark.parametrize("reacts", [False, True])
@pytest.mark.parametrize("max_lanes", [2, 4, 6])
def test_a_tile_of_some_configurations_of_some_seeds_comes_back_as_it_was(max_lanes, reacts):
    tiles = lanes.layout(CONFIGS, SEEDS, columns=2, max_lanes=max_lanes)
    assert len(tiles) > 1
    for tile in tiles:
        before, real = state(tile, reacts), tile.config >= 0
        after = lane_order.to_tile(lane_order.from_tile(before, tile, reacts).carry, tile, reacts)
        rows = real if reacts else real.any(axis=1)
        np.testing.assert_array_equal(after.environment[rows], before.environment[rows])
        np.testing.assert_array_equal(after.agent["a"][real], before.agent["a"][real])
