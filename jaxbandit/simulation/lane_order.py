"""The state of a tile as a checkpoint holds it: lane after lane, so that it fits the tiles of any number of devices."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, PyTree

from jaxbandit.simulation.lanes import Tile
from jaxbandit.simulation.rounds import Carry


class Saved(NamedTuple):
    """States of L lanes, configuration after configuration and seed after seed; fillers of a tile are left out."""

    lanes: Int[np.ndarray, "L 2"]  # configuration and seed
    carry: Carry  # leaves [L, ...]; of a world that all configurations of a seed share [seeds, ...]


def from_tile(carry: Carry, tile: Tile, reacts: bool) -> Saved:
    """Put the state of a tile, on this host, in order. `reacts`: each lane has a world of its own."""
    lanes, (row, column) = _lanes(tile)
    first_rows = np.unique(tile.seed[row], return_index=True)[1]
    world = (lambda x: x[row, column]) if reacts else (lambda x: x[row[first_rows]])
    return Saved(
        lanes, Carry(jax.tree.map(world, carry.environment), jax.tree.map(lambda x: x[row, column], carry.agent))
    )


def to_tile(saved: Carry, tile: Tile, reacts: bool) -> Carry:
    """Lay states that are in order out as a tile; fillers get the state of the first lane."""
    lanes, place = _lanes(tile)
    of_lane = np.zeros(tile.config.shape, int)
    of_lane[place] = np.arange(len(lanes))
    of_row = np.searchsorted(np.unique(lanes[:, 1]), tile.seed)

    def spread(tree: PyTree, index: np.ndarray) -> PyTree:
        return jax.tree.map(lambda x: np.asarray(x)[index], tree)

    # A row of fillers alone may be of a seed that has no lane here.
    world = of_lane if reacts else np.minimum(of_row, len(np.unique(lanes[:, 1])) - 1)
    return Carry(spread(saved.environment, world), spread(saved.agent, of_lane))


def _lanes(tile: Tile) -> tuple[Int[np.ndarray, "L 2"], tuple[np.ndarray, np.ndarray]]:
    """Lanes of a tile in order, and the row and column of each."""
    row, column = np.nonzero(tile.config >= 0)
    config, seed = tile.config[row, column], tile.seed[row]
    order = np.lexsort((seed, config))
    return np.stack([config, seed], axis=1)[order], (row[order], column[order])
