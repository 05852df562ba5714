"""Lanes run to their end in chunks: points, checkpoints, signals. The program here is a few lines of NumPy."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit._core.errors import InputError
from jaxbandit._core.integers import ceil_div
from jaxbandit.simulation import chunks as execution
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.chunks import State, Work
from jaxbandit.simulation.lanes import Program, Tile, layout
from jaxbandit.simulation.metrics import RoundMetrics
from jaxbandit.simulation.rounds import Carry


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 10_000) | st.integers(1, 2**31 - 1))
def test_points_cover_all_rounds_and_one_begins_with_the_final_tenth(rounds) -> None:
    edges = execution.point_edges(rounds)
    assert edges.dtype == np.int64
    assert (edges[0], edges[-1]) == (0, rounds)
    assert np.all(np.diff(edges) > 0)
    assert len(edges) <= 2 * execution.POINTS + 1
    assert rounds - ceil_div(rounds, 10) in edges
    assert 1 in edges  # the beginning is seen round by round


def of(seed: Any, config: Any, round: Any) -> Any:
    """What a lane pays in a round: of its seed, its configuration and the round alone."""
    return 1000.0 * seed + 100 * config + round % 7


def advance(carry: Any, tile: Tile, edges: np.ndarray) -> tuple[Any, RoundMetrics]:
    assert carry.environment.tolist() == [edges[0]] * len(tile.seed)  # goes on where it was
    real = tile.config >= 0
    np.testing.assert_array_equal(carry.agent[real], (tile.config + 100 * tile.seed[:, None])[real])
    rounds = [np.arange(*span) for span in pairwise(edges)]
    lanes = [
        of(tile.seed[:, None, None], tile.config[:, :, None], r).sum(-1) * np.ones(tile.config.shape) for r in rounds
    ]
    sums = np.stack(lanes, axis=-1).astype(np.float32)
    carry = carry._replace(environment=np.full_like(carry.environment, edges[-1]))
    return carry, RoundMetrics(*(sums + i for i in range(5)))


def begin(tile: Tile) -> Any:
    return Carry(environment=np.zeros(len(tile.seed), np.int32), agent=tile.config + 100 * tile.seed[:, None])


MEMBERS = np.array([1, 4, 5])  # of the program's grid
EDGES = np.array([0, 1, 2, 4, 7, 11, 12, 20])


@pytest.fixture(params=["one tile", "three tiles"])
def work(request) -> Work:
    most = {"one tile": None, "three tiles": 4}[request.param]
    tiles = layout(3, 4, num_devices=1, columns=2, max_lanes=most)
    assert len(tiles) == {"one tile": 1, "three tiles": 4}[request.param]
    return Work(Program(begin, advance, 0), tiles, MEMBERS, 4, 8, EDGES)


def go(work: Work, state: State, place: Path, *, every: int | None = None, until: int | None = None) -> State:
    """Go on; the signal comes after chunk number `until`."""
    stop, seen = threading.Event(), []

    def watch(state: State) -> None:
        seen.append(execution.rounds_done(work, state))
        if len(seen) == until:
            stop.set()

    checkpoints = Checkpoints(place)
    state, seconds = execution.advance(
        work, state, checkpoints, every=every, watch=watch, stop=stop, trace=lambda: None
    )
    assert seconds >= 0
    assert seen == sorted(set(seen))
    return state


def test_all_lanes_are_run_and_their_sums_stand_in_their_place(work, tmp_path) -> None:
    state = go(work, execution.start(work, None), tmp_path)
    assert execution.is_finished(work, state)
    for h, s, w in np.ndindex(3, 4, len(EDGES) - 1):
        expected = of(s, MEMBERS[h], np.arange(EDGES[w], EDGES[w + 1])).sum()
        assert state.sums[:, w, h, s].tolist() == [expected + i for i in range(5)]
    curves = execution.curves(work, state.sums, 2, points=3)
    assert curves.edges.tolist() == [0, 1, 2, 4]
    np.testing.assert_array_equal(curves.sums.average_return, state.sums[0, :3, 2])
    assert (work.rounds, work.interactions) == (20, 20 * 8 * 3 * 4)


def test_a_signal_after_any_chunk_saves_and_what_is_resumed_ends_the_same(work, tmp_path) -> None:
    whole = go(work, execution.start(work, None), tmp_path / "whole")
    chunks = ceil_div(len(EDGES) - 1, execution.POINTS_PER_CALL) * len(work.tiles)
    for until in range(1, chunks):
        place = tmp_path / str(until)
        stopped = go(work, execution.start(work, Checkpoints(place)), place, every=10**6, until=until)
        assert not execution.is_finished(work, stopped)
        assert max(Checkpoints(place).rounds()) == execution.rounds_done(work, stopped)
        again = execution.start(work, Checkpoints(place))
        assert (again.tile, again.done) == (stopped.tile, stopped.done)
        end = go(work, again, place, every=10**6)
        np.testing.assert_array_equal(end.sums, whole.sums)


@pytest.mark.parametrize("devices", [3, 8])
def test_what_was_stopped_goes_on_with_another_number_of_devices(devices, tmp_path) -> None:
    work = Work(Program(begin, advance, 0), layout(3, 4), MEMBERS, 4, 8, EDGES)
    whole = go(work, execution.start(work, None), tmp_path / "whole")
    go(work, execution.start(work, None), tmp_path, every=10**6, until=2)
    other = work._replace(tiles=layout(3, 4, num_devices=devices))
    assert other.tiles[0].config.shape != work.tiles[0].config.shape
    state = execution.start(other, Checkpoints(tmp_path))
    assert state.done > 0
    np.testing.assert_array_equal(go(other, state, tmp_path).sums, whole.sums)


def test_a_finished_tile_or_all_of_them_are_not_run_again(work, tmp_path) -> None:
    go(work, execution.start(work, None), tmp_path)
    state = execution.start(work, Checkpoints(tmp_path))
    assert execution.is_finished(work, state)
    np.testing.assert_array_equal(go(work, state, tmp_path).sums, state.sums)


def saves(work: Work, place: Path, every: int | None, monkeypatch, seconds: float = 0.0) -> list[int]:
    """Numbers of the checkpoints, where saving takes so long and a chunk one second."""
    found, now = [], [0.0]

    def tick(state: State) -> None:
        now[0] += 1

    def save(self: Checkpoints, number: int, state: Any) -> None:
        found.append(number)
        now[0] += seconds

    monkeypatch.setattr(Checkpoints, "save", save)
    monkeypatch.setattr("jaxbandit.simulation.chunks.time.perf_counter", lambda: now[0])
    options = {"watch": tick, "stop": threading.Event(), "trace": lambda: None}
    execution.advance(work, execution.start(work, None), Checkpoints(place), every=every, **options)
    return found


def test_checkpoints_come_as_often_as_is_said_and_at_the_end(work, tmp_path, monkeypatch) -> None:
    ends = [20 * tile + done for tile in range(len(work.tiles)) for done in (2, 7, 12, 20)]
    assert saves(work, tmp_path, 1, monkeypatch) == ends
    assert saves(work, tmp_path, 10**6, monkeypatch) == ends[-1:]
    assert saves(work, tmp_path, 10, monkeypatch) == [end for end in ends if end % 20 in (12, 0)]


def test_saving_takes_no_more_than_a_tenth_of_the_time_where_nothing_is_said(work, tmp_path, monkeypatch) -> None:
    ends = [20 * tile + done for tile in range(len(work.tiles)) for done in (2, 7, 12, 20)]
    assert saves(work, tmp_path, None, monkeypatch) == ends
    assert saves(work, tmp_path, None, monkeypatch, seconds=0.0625) == ends  # a chunk takes a second
    rare = saves(work, tmp_path, None, monkeypatch, seconds=0.25)
    assert rare == sorted({*ends[::3], ends[-1]})


@pytest.mark.parametrize("change", ["rows", "fewer tiles", "lanes"])
def test_a_checkpoint_of_other_work_is_refused(change, tmp_path) -> None:
    tiles = layout(3, 4, num_devices=1, columns=2, max_lanes=4)
    work = Work(Program(begin, advance, 0), tiles, MEMBERS, 4, 8, EDGES)
    go(work, execution.start(work, None), tmp_path, every=10**6, until=7)  # in the second tile
    others = {
        "rows": work._replace(edges=np.array([0, 5, 20])),
        "fewer tiles": work._replace(tiles=layout(3, 4, num_devices=1), edges=EDGES),
        "lanes": work._replace(tiles=layout(3, 4, num_devices=1, columns=1, max_lanes=4)),
    }
    with pytest.raises(InputError, match="belongs to another program"):
        execution.start(others[change], Checkpoints(tmp_path))


def test_the_first_chunks_are_traced_and_the_trace_is_ended_in_any_case(monkeypatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda directory, **_: calls.append(f"start {directory}"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: calls.append("stop"))
    for chunks in (1, execution.TRACED_CALLS, execution.TRACED_CALLS + 1, 10):
        calls.clear()
        with execution.tracing("place") as trace:
            for _ in range(chunks):
                trace()
        assert calls == ["start place", "stop"], chunks
    calls.clear()
    with execution.tracing("place"):
        pass
    with execution.tracing(None) as trace:
        trace()
    assert calls == []


@pytest.mark.parametrize("change", ["other tiles", "fewer tiles"])
def test_a_checkpoint_of_other_tiles_is_refused_where_lanes_have_no_state(change, tmp_path) -> None:
    def without(carry: Any, tile: Tile, edges: np.ndarray) -> tuple[Any, RoundMetrics]:
        carry = begin(tile)._replace(environment=np.full(len(tile.seed), edges[0]))
        return Carry((), ()), advance(carry, tile, edges)[1]

    work = Work(
        Program(lambda tile: Carry((), ()), without, 0), layout(3, 4, columns=2, max_lanes=4), MEMBERS, 4, 8, EDGES
    )
    go(work, execution.start(work, None), tmp_path, every=10**6, until=7)  # in the second tile
    assert execution.start(work, Checkpoints(tmp_path)).tile == 1
    most = {"other tiles": 6, "fewer tiles": 8}[change]
    other = work._replace(tiles=layout(3, 4, columns=2, max_lanes=most))
    assert 1 < len(other.tiles) < len(work.tiles)
    with pytest.raises(InputError, match="belongs to another program"):
        execution.start(other, Checkpoints(tmp_path))
