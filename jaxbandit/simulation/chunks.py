"""Lanes run to their end in chunks, between which states are saved and signals are met. It compiles no program.

A chunk is the rounds of one call of the program. It ends at a point of the learning curves.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxbandit._core import processes
from jaxbandit.simulation import lane_order
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.lanes import Program, Tile
from jaxbandit.simulation.metrics import Curves, RoundMetrics

POINTS = 100  # evenly spaced points of the learning curves; up to as many again are packed into the beginning
POINTS_PER_CALL = 2  # that one call of the program computes: progress is shown, and signals are met, between calls
SAVING_SHARE = 0.1  # of the time that saving may take where nobody has said how often to save
TRACED_CALLS = 3
OF_AGENT = ("average_return", "regret", "suboptimal_arms")  # metrics that an agent's choices make


class Work(NamedTuple):
    """What is to be simulated: all lanes of H configurations and S seeds, tile after tile."""

    program: Program
    tiles: list[Tile]  # configurations are numbered 0 ... H - 1
    members: np.ndarray  # [H] their numbers in the program's grid, which may hold more
    num_seeds: int
    batch_size: int
    edges: np.ndarray  # [P + 1] rounds between the points of the learning curves, from 0
    rounds_per_call: int | None = None  # calls end at its multiples, which are edges; None: after POINTS_PER_CALL

    @property
    def rounds(self) -> int:
        """Rounds of each lane."""
        return int(self.edges[-1])

    @property
    def interactions(self) -> int:
        """Users served in all lanes together."""
        return self.rounds * self.batch_size * self.num_seeds * len(self.members)


class State(NamedTuple):
    """How far the work is: all tiles before `tile` are done, and `done` points of this one."""

    carry: PyTree
    sums: np.ndarray  # float64 [metric, P, H, S]; what is not done yet is zero
    tile: int
    done: int


def edges_of(rounds: int, rounds_per_call: int | None = None) -> np.ndarray:
    """Rounds between points, the multiples of `rounds_per_call` among them."""
    edges = point_edges(rounds)
    return edges if rounds_per_call is None else np.union1d(edges, np.arange(0, rounds, rounds_per_call))


def points_of_calls(edges: np.ndarray, rounds_per_call: int | None = None) -> int:
    """Most points of one call."""
    return POINTS_PER_CALL if rounds_per_call is None else int(np.bincount(edges[:-1] // rounds_per_call).max())


def point_edges(rounds: int) -> np.ndarray:
    """Rounds between points of the learning curves, from 0: every round at first, then growing, then even steps.

    The final tenth of the rounds begins at one of them.
    """
    if rounds <= 2 * POINTS:
        return np.append(np.arange(rounds), rounds)
    even = np.arange(POINTS + 1, dtype=np.int64) * rounds // POINTS
    growing = np.geomspace(1, rounds, POINTS)
    early = growing[np.diff(growing, prepend=0) < rounds / POINTS].astype(np.int64)
    return np.unique(np.concatenate([[0], early, even[even > early[-1] + rounds // POINTS // 2]]))


def start(work: Work, checkpoints: Checkpoints | None) -> State:
    """Begin at the beginning, or at the last checkpoint where there is one.

    Raises:
        InputError: the checkpoint is damaged or of another program.
    """
    edges, carry = work.edges, _begin(work, 0)
    sums = np.zeros((len(RoundMetrics._fields), len(edges) - 1, len(work.members), work.num_seeds))
    tile, rounds = last_saved(work, checkpoints)
    if checkpoints is None or (tile, rounds) == (0, 0):
        return State(carry, sums, 0, 0)
    saved = tile * work.rounds + rounds
    if rounds not in edges or tile + (rounds > 0) > len(work.tiles):
        raise checkpoints.foreign(saved)
    done = int(np.searchsorted(edges, rounds))
    last = _last_tile(work, tile, done)
    like = lane_order.from_tile(processes.gather(carry), last, work.program.reacts), sums

    def restore() -> PyTree:
        states, sums = checkpoints.restore(saved, like)
        if not np.array_equal(states.lanes, like[0].lanes):
            raise checkpoints.foreign(saved)
        return states, sums

    states, sums = processes.from_first(restore, lambda: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like))
    carry = lane_order.to_tile(states.carry, last, work.program.reacts)
    return State(carry, np.array(sums, np.float64), tile, done)


def last_saved(work: Work, checkpoints: Checkpoints | None) -> tuple[int, int]:
    """Tile and round of the last checkpoint; 0, 0 where there is none."""

    def look() -> np.ndarray:
        saved = checkpoints.rounds() if checkpoints is not None else []
        return np.array(divmod(max(saved, default=0), work.rounds))

    tile, rounds = processes.from_first(look, lambda: np.zeros(2, int))
    return int(tile), int(rounds)


def advance(
    work: Work,
    state: State,
    checkpoints: Checkpoints,
    *,
    every: int | None,
    watch: Callable[[State], None],
    stop: threading.Event,
    trace: Callable[[], None],
) -> tuple[State, float]:
    """Go on to the end, or to the end of the chunk in which `stop` is set, and save the state.

    `every` is the number of rounds between checkpoints; None saves after each chunk, unless that would take more than
    a tenth of the time. `trace` is called before each chunk, and `watch` with the state after it. `state.sums` is
    filled in place. Returns the state, and the seconds that the program took.
    """
    seconds, cost, saved, saved_at = 0.0, 0.0, rounds_done(work, state), time.perf_counter()
    while not is_finished(work, state):
        trace()
        began = time.perf_counter()
        tile, state = state.tile, _call(work, state)
        seconds += time.perf_counter() - began
        if state.tile > tile:
            _mark_diverged(work, state, tile)
        watch(state)
        now = rounds_done(work, state)
        waited = time.perf_counter() - saved_at
        due = now // every > saved // every if every else waited * SAVING_SHARE >= cost
        stopping, saving = processes.any_of(stop.is_set(), due)
        if stopping or saving or is_finished(work, state):
            began = time.perf_counter()
            _save(checkpoints, work, state)
            saved, saved_at = now, time.perf_counter()
            cost = saved_at - began
        if stopping:
            break
    return state, seconds


def is_finished(work: Work, state: State) -> bool:
    """Whether all lanes are at their end."""
    return state.tile == len(work.tiles)


def rounds_done(work: Work, state: State) -> int:
    """Number of a checkpoint: the rounds done in all tiles, which are simulated one after the other."""
    return state.tile * work.rounds + int(work.edges[state.done])


def curves(work: Work, sums: np.ndarray, config: int, points: int | None = None) -> Curves:
    """Learning curves of one configuration, all points or the first ones."""
    edges = work.edges if points is None else work.edges[: points + 1]
    return Curves(work.batch_size, edges, RoundMetrics(*sums[:, : len(edges) - 1, config]))


@contextmanager
def tracing(directory: str | None) -> Iterator[Callable[[], None]]:
    """Yield a function to call before each chunk: JAX's profiler traces the first chunks into `directory`."""
    calls, end = 0, TRACED_CALLS

    def before_chunk() -> None:
        nonlocal calls
        if directory is not None and processes.is_first():
            if calls == 0:
                jax.profiler.start_trace(directory, create_perfetto_trace=True)
            elif calls == end:
                jax.profiler.stop_trace()
            calls += 1

    try:
        yield before_chunk
    finally:
        if 0 < calls <= end:
            jax.profiler.stop_trace()


def _begin(work: Work, tile: int) -> PyTree:
    return work.program.begin(_of_program(work, tile))


def _of_program(work: Work, tile: int) -> Tile:
    """Read a tile with its configurations numbered as in the program's grid."""
    seed, config = work.tiles[tile]
    return Tile(seed, np.where(config < 0, -1, work.members[config]))


def _call(work: Work, state: State) -> State:
    """Compute the next points; spans beyond the last one are empty."""
    edges, tile = work.edges, work.tiles[state.tile]
    carry = _begin(work, state.tile) if state.done == 0 else state.carry
    last, done = len(edges) - 1, _end_of_call(work, state.done)
    points = points_of_calls(edges, work.rounds_per_call)
    span = edges[np.minimum(np.arange(state.done, state.done + points + 1), done)]
    carry, metrics = work.program.advance(carry, _of_program(work, state.tile), span)
    row, column = np.nonzero(tile.config >= 0)
    values = np.stack(processes.gather(metrics)).astype(np.float64)[:, row, column, : done - state.done]
    state.sums[:, state.done : done, tile.config[row, column], tile.seed[row]] = values.swapaxes(1, 2)
    return State(carry, state.sums, state.tile + done // last, done % last)


def _mark_diverged(work: Work, state: State, tile: int) -> None:
    """Write nan over the last point of lanes whose agents have come to numbers that are not finite.

    Such an agent goes on choosing, at random or always alike, and what that earns would pass for a result.
    """
    seed, config = work.tiles[tile]
    lost = np.zeros(config.shape, bool)
    for leaf in jax.tree.leaves(state.carry.agent):
        if jnp.issubdtype(leaf.dtype, jnp.floating):  # here and not on the device: nothing is compiled for it
            lost |= ~np.isfinite(processes.gather(leaf)).all(axis=tuple(range(2, leaf.ndim)))
    row, column = np.nonzero((config >= 0) & lost)
    chosen = [RoundMetrics._fields.index(name) for name in OF_AGENT]
    for lane in zip(config[row, column], seed[row], strict=True):
        state.sums[chosen, -1, *lane] = np.nan


def _end_of_call(work: Work, done: int) -> int:
    """Point at which a call ends that begins at point `done`."""
    if work.rounds_per_call is None:
        return min(done + POINTS_PER_CALL, len(work.edges) - 1)
    stop = (work.edges[done] // work.rounds_per_call + 1) * work.rounds_per_call
    return int(np.searchsorted(work.edges, min(stop, work.rounds)))


def _last_tile(work: Work, tile: int, done: int) -> Tile:
    """Tile whose state there is: the one at work, or where it has not begun the one before."""
    return work.tiles[tile if done else max(tile - 1, 0)]


def _save(checkpoints: Checkpoints, work: Work, state: State) -> None:
    """Save the state lane after lane, and which lanes these are: others are refused even where they have no state."""
    carry, last = processes.gather(state.carry), _last_tile(work, state.tile, state.done)
    states = lane_order.from_tile(carry, last, work.program.reacts)
    processes.by_first(lambda: checkpoints.save(rounds_done(work, state), (states, state.sums)))
