"""Sweeps that were interrupted, killed or finished, and are taken up again."""

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from jaxbandit._core.signals import Interrupted
from jaxbandit.experiments import runner
from jaxbandit.experiments import sweep as search
from jaxbandit.simulation import chunks
from tests.command_line import DiskUsage, assert_refused, call, hashes
from tests.experiments.sweeps import GRID, WORLD, sweep, table

STATIC = ("--agent", "linucb", *WORLD, "--grid", "alpha=1,10,100", "add-bias=true,false")


@contextlib.contextmanager
def signal_before(chunk: int) -> Iterator[None]:
    """Let a signal come to a sweep before chunk number `chunk`; before its first program where that is 0."""
    event, calls, advance_rows = threading.Event(), [], chunks._call

    def call_program(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == chunk:
            event.set()
        return advance_rows(*args)

    if chunk == 0:
        event.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_call", call_program)
        patch.setattr(runner, "stop_requests", lambda: contextlib.nullcontext(event))
        yield


def test_a_finished_sweep_that_is_resumed_shows_its_table_again_and_changes_nothing(swept) -> None:
    before = hashes(swept)
    for args in ((), GRID):
        shown = call("sweep", *args, "--resume", "--out", swept)
        assert shown.status == 0
        assert "difference to the best" in shown.out
        assert f"results in {swept}" in shown.out
        assert not shown.err
    assert hashes(swept) == before


def test_other_flags_are_refused_where_a_sweep_is_resumed(swept, halved) -> None:
    before = hashes(swept)
    assert_refused(call("sweep", *GRID, "--out", swept), "holds this run already", "--resume")
    assert_refused(call("sweep", *GRID, "--seed", "9", "--resume", "--out", swept), "another", "seed 0 and 9")
    other = ("--agent", "linucb,lints", *WORLD, "--grid", "alpha=0.3,3,31", "add-bias=true,false")
    assert_refused(call("sweep", *other, "--resume", "--out", swept), "another", "configuration", "30.0", "31.0")
    assert_refused(call("sweep", *GRID, "--halving", "3", "--resume", "--out", swept), "another", "eta None and 3")
    assert_refused(call("sweep", "--seeds", "4", "--resume", "--out", swept), "allowed")
    assert_refused(call("run", *WORLD, "--resume", "--out", swept), "a sweep and a single run")
    assert hashes(swept) == before


def test_a_signal_is_heard_between_two_programs_and_leaves_nothing(tmp_path) -> None:
    with signal_before(0):
        stopped = call("sweep", *STATIC, "--out", tmp_path / "out")
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1] == "jaxbandit: interrupted"
    assert stopped.err.count("compiling") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def in_second_group(tmp_path_factory) -> Path:
    """A sweep in tiles that was stopped in its second group."""
    out = tmp_path_factory.mktemp("in-second-group") / "out"
    with signal_before(70):
        stopped = call("sweep", *STATIC, "--max-lanes", "8", "--out", out)
    assert stopped.status == 130, stopped
    last = stopped.err.splitlines()[-1]
    assert re.fullmatch(r"jaxbandit: interrupted after [1-9][\d,]* of [\d,]* interactions; go on with: .*", last)
    assert last.endswith(f"; go on with: jaxbandit sweep --resume --out {out}")
    assert len(list((out / "checkpoints").glob("*.npy"))) == 1
    return out


@pytest.fixture
def interrupted(in_second_group, tmp_path) -> Path:
    """The same for a test to change."""
    return Path(shutil.copytree(in_second_group, tmp_path / "interrupted"))


def test_what_is_done_is_not_done_again_and_the_limit_of_lanes_is_remembered(interrupted, tmp_path) -> None:
    resumed = sweep("--resume", "--out", interrupted)
    assert resumed.err.count("compiling") == 1
    sweep(*STATIC, "--out", tmp_path / "whole")
    assert_frame_equal(table(interrupted), table(tmp_path / "whole"), rel_tol=1e-5, abs_tol=1e-9)


def test_another_limit_of_lanes_is_refused_where_a_sweep_is_resumed(interrupted) -> None:
    before = hashes(interrupted)
    other = call("sweep", "--resume", "--max-lanes", "16", "--out", interrupted)
    assert_refused(other, "max_lanes is 16, but was 8 before", "the same")
    assert hashes(interrupted).keys() == before.keys()
    sweep("--resume", "--max-lanes", "8", "--out", interrupted)


@pytest.mark.parametrize("size", [0, 100])
def test_a_part_of_a_sweep_that_is_damaged_is_refused(interrupted, size) -> None:
    (part,) = (interrupted / "checkpoints").glob("*.npy")
    part.write_bytes(part.read_bytes()[:size])
    assert_refused(call("sweep", "--resume", "--out", interrupted), part.name, "is damaged", "delete it")
    part.unlink()
    assert sweep("--resume", "--out", interrupted).err.count("compiling") == 2


def test_a_sweep_killed_before_its_table_was_written_computes_nothing_again(tmp_path, monkeypatch) -> None:
    def die(*args: object) -> None:
        raise Interrupted("killed")

    with monkeypatch.context() as patch:
        patch.setattr(search, "_write", die)
        assert call("sweep", *STATIC, "--out", tmp_path / "out").status == 130
    resumed = sweep("--resume", "--out", tmp_path / "out")
    assert "compiling" not in resumed.err
    assert table(tmp_path / "out").height == 6
    assert json.loads((tmp_path / "out/summary.json").read_text())["interactions_per_second"] is None


def test_a_full_disk_before_the_first_checkpoint_leaves_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: DiskUsage(100, 100, 0))
    assert_refused(call("sweep", *STATIC, "--out", tmp_path / "out"), "cannot write the checkpoint", "No space left")
    assert not (tmp_path / "out").exists()


def test_a_finished_sweep_without_its_table_is_refused(swept, tmp_path) -> None:
    shutil.copytree(swept, tmp_path / "out")
    (tmp_path / "out/results.parquet").write_bytes(b"PAR1")
    assert_refused(call("sweep", "--resume", "--out", tmp_path / "out"), "results.parquet", "is damaged")
    (tmp_path / "out/results.parquet").unlink()
    assert_refused(call("sweep", "--resume", "--out", tmp_path / "out"), "results.parquet", "cannot be read")
