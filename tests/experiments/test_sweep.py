"""Sweeps end to end: the command line in, tables and pictures out."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from jaxbandit._core.signals import Interrupted
from jaxbandit.experiments import runner
from jaxbandit.experiments import sweep as search
from jaxbandit.experiments.config import read_config
from jaxbandit.simulation import chunks, lanes
from jaxbandit.simulation.metrics import Curves
from tests.cli.test_bad_input import DiskUsage
from tests.command_line import Result, assert_refused, call, hashes, start
from tests.test_promises import compilations

WORLD = ("--env", "wheel", "--batch-size", "8", "--training-loops", "6", "--steps-per-loop", "10", "--seeds", "3")
GRID = ("--agent", "linucb,lints", *WORLD, "--grid", "alpha=0.3,3,30", "add-bias=true,false")
HALVING = (
    *("--agent", "linucb,uniform", *WORLD, "--metric", "cumulative_regret"),
    *("--sample", "alpha=log:0.1:100", "--num-configs", "9", "--halving", "eta=3"),
)


def sweep(*args: object) -> Result:
    result = call("sweep", *args)
    assert result.status == 0, result
    return result


def table(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "results.parquet")


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[int, Curves]]:
    """Curves of all configurations, as sweeps have handed them to their last table."""
    return {}


@pytest.fixture(scope="module")
def swept(tmp_path_factory, seen) -> Path:
    out = tmp_path_factory.mktemp("swept") / "grid"
    tabulate = search.tabulate

    def keep(plan, configs, results):
        seen["grid"] = {i: result.curves for i, result in results.items()}
        return tabulate(plan, configs, results)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "tabulate", keep)
        result = sweep(*GRID, "--out", out)
    assert "compiling linucb (1 of 4 programs)" in result.err
    assert f"results in {out}" in result.out
    return out


@pytest.fixture(scope="module")
def halved(tmp_path_factory) -> tuple[Path, list[int]]:
    """A sweep with halving, and how often XLA had compiled after each rung."""
    out, counts, run_rung = tmp_path_factory.mktemp("halved") / "halving", [], runner.Runner._run_rung
    compilations()

    def count(*args: Any) -> Any:
        found = run_rung(*args)
        counts.append(len(compilations()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.Runner, "_run_rung", count)
        sweep(*HALVING, "--out", out)
    return out, counts


def flags(row: dict[str, Any], *names: str) -> list[str]:
    return [part for name in names for part in (f"--{name}", str(row[name]).lower())]


@pytest.mark.parametrize(("agent", "bias", "alpha"), [("linucb", False, 3.0), ("lints", True, 0.3)])
def test_a_row_of_the_table_is_what_a_run_of_it_gives(swept, tmp_path, agent, bias, alpha) -> None:
    chosen = (pl.col("agent") == agent) & (pl.col("add-bias") == bias) & (pl.col("alpha") == alpha)
    row = table(swept).row(by_predicate=chosen, named=True)
    args = ("run", *WORLD, *flags(row, "agent", "alpha", "add-bias"), "--out", tmp_path / "run")
    assert call(*args).status == 0
    final = json.loads((tmp_path / "run/summary.json").read_text())["final"]
    for name, estimate in final.items():
        for key, column in (("mean", name), ("stderr", f"{name}_stderr")):
            np.testing.assert_allclose(row[column], estimate[key], rtol=1e-5, atol=1e-9, err_msg=column)


def test_the_table_has_every_configuration_once_and_is_ranked(swept) -> None:
    frame = table(swept)
    assert frame["configuration"].sort().to_list() == list(range(12))
    assert frame["rank"].to_list() == list(range(1, 13))
    assert frame["regret"].is_sorted()
    assert frame.select("agent", "alpha", "add-bias").n_unique() == 12
    assert frame["seeds"].unique().to_list() == [3]
    assert frame["interactions"].unique().to_list() == [480]


def test_both_files_hold_the_same_table(swept, halved) -> None:
    for out in (swept, halved[0]):
        frame = table(out)
        assert_frame_equal(pl.read_csv(out / "results.csv", schema=frame.schema), frame, rel_tol=0, abs_tol=0)


def test_differences_to_the_best_are_paired_by_seed(swept, seen) -> None:
    frame = table(swept)

    def regret(configuration: int) -> np.ndarray:
        curves = seen["grid"][configuration]
        first = int(np.searchsorted(curves.edges, 60 - math.ceil(60 / 10)))
        return curves.sums.regret[first:].sum(axis=0) / 6

    best = regret(frame["configuration"][0])
    for row in frame.iter_rows(named=True):
        difference = regret(row["configuration"]) - best
        np.testing.assert_allclose(row["regret"], regret(row["configuration"]).mean())
        np.testing.assert_allclose(row["difference"], difference.mean(), atol=1e-12)
        if row["rank"] > 1 and np.ptp(difference):
            interval = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
            np.testing.assert_allclose((row["difference_low"], row["difference_high"]), interval, rtol=1e-9)


def test_all_files_are_there_and_nothing_else(swept, halved) -> None:
    files = {"best.json", "config.json", "metrics.csv", "results.csv", "results.parquet", "summary.json", "sweep.png"}
    assert {path.name for path in swept.iterdir()} == files | {"tensorboard"}
    assert {path.name for path in halved[0].iterdir()} == files | {"tensorboard", "halving.csv"}
    assert (swept / "sweep.png").stat().st_size > 10_000
    names = sorted(path.name for path in (swept / "tensorboard").iterdir())
    assert [name[:2] for name in names] == ["1 ", "2 ", "3 ", "4 ", "5 "]


def test_the_summary_is_that_of_the_best_and_counts_the_whole_sweep(swept) -> None:
    summary, best = json.loads((swept / "summary.json").read_text()), table(swept).row(0, named=True)
    assert summary["sweep"] == {"configurations": 12, "programs": 4, "interactions": 12 * 3 * 480, "metric": "regret"}
    assert summary["final"]["regret"] == {"mean": best["regret"], "stderr": best["regret_stderr"]}
    assert summary["interactions_per_second"] > 0


@pytest.mark.parametrize("kind", ["grid", "halving"])
def test_the_best_configuration_runs_again_to_the_same_numbers(kind, swept, halved, tmp_path) -> None:
    out = {"grid": swept, "halving": halved[0]}[kind]
    assert call("run", "--config", out / "best.json", "--out", tmp_path / "again").status == 0
    again, summary = (json.loads((path / "summary.json").read_text()) for path in (tmp_path / "again", out))
    assert again["seeds"] == summary["seeds"] == table(out)["seeds"][0]
    for name, estimate in summary["final"].items():
        for key, value in estimate.items():
            np.testing.assert_allclose(again["final"][name][key], value, rtol=1e-5, atol=1e-9, err_msg=name)
    if kind == "grid":  # halving has more rows
        one, other = (pl.read_csv(path / "metrics.csv") for path in (tmp_path / "again", out))
        assert_frame_equal(one, other, rel_tol=1e-5)


def test_the_leaderboard_names_what_was_swept(swept) -> None:
    shown = call("sweep", "--resume", "--out", swept)
    lines = [line.split() for line in shown.out.splitlines()]
    best = table(swept).row(0, named=True)
    assert ["1", best["agent"], f"{best['alpha']:g}", str(best["add-bias"]).lower()] in [line[:4] for line in lines]
    assert "the first 10 of 12 configurations" in shown.out


def test_more_values_compile_nothing_more(tmp_path) -> None:
    counts = []
    for number, values in enumerate(("1,2,3,4,5", "log:0.1:10:40")):
        before = len(compilations())
        result = sweep(*WORLD, "--agent", "linucb", "--grid", f"alpha={values}", "--out", tmp_path / str(number))
        counts.append(len(compilations()) - before)
        assert result.err.count("compiling") == 1
    assert counts[0] >= 2  # start and advance: the listener hears
    assert counts[1] <= counts[0]


def test_static_settings_are_compiled_once_for_each_value(tmp_path, monkeypatch) -> None:
    made, compile_program = [], lanes.compile_program
    monkeypatch.setattr(
        "jaxbandit.simulation.lanes.compile_program", lambda *a, **k: made.append(a) or compile_program(*a, **k)
    )
    sweep(
        *WORLD[:2], *WORLD[4:], "--agent", "linucb", "--grid", "alpha=1,2,3", "batch-size=4,8", "--out", tmp_path / "a"
    )
    assert len(made) == 2


def test_later_rungs_compile_nothing(halved) -> None:
    _, counts = halved
    assert len(counts) == 3
    assert counts[0] == counts[1] == counts[2]


def test_each_rung_keeps_the_best_and_gives_their_lanes_to_more_seeds(halved) -> None:
    out, _ = halved
    decisions = pl.read_csv(out / "halving.csv")
    stages = decisions.partition_by("rung_number", maintain_order=True)
    assert [stage.height for stage in stages] == [10, 4, 2]
    alive = set(range(10))
    for stage, rounds in zip(stages, (7, 20, 60), strict=True):
        assert set(stage["configuration"]) == alive
        assert stage["interactions"].unique().to_list() == [8 * rounds]
        best = stage.sort("cumulative_regret", maintain_order=True)["configuration"].to_list()
        kept = stage.filter("kept")["configuration"].to_list()
        assert kept == best[: len(kept)]
        alive = set(kept)
    assert [stage["kept"].sum() for stage in stages] == [4, 2, 0]
    sizes = [stage.filter(pl.col("agent") == "linucb")["seeds"] for stage in stages]
    assert all(size.n_unique() == 1 for size in sizes)
    assert [size[0] for size in sizes] == sorted({size[0] for size in sizes})  # they grow
    assert all(size.sum() <= 3 * 10 for size in sizes)  # a lane of the first stage's rows of two fills them up


def test_the_table_of_a_halving_has_the_last_word_on_each_configuration(halved) -> None:
    out, _ = halved
    decisions, frame = pl.read_csv(out / "halving.csv"), table(out)
    last = decisions.group_by("configuration").agg(pl.col("rung_number", "seeds", "cumulative_regret").last())
    both = frame.join(last, on="configuration", suffix="_decision", maintain_order="left")
    assert both.height == frame.height == 10
    assert both["rung"].to_list() == both["rung_number"].to_list() == sorted(both["rung"], reverse=True)
    assert both["seeds"].to_list() == both["seeds_decision"].to_list()
    np.testing.assert_allclose(both["cumulative_regret"], both["cumulative_regret_decision"], rtol=1e-12)
    assert set(frame.head(2)["configuration"]) == set(decisions.filter(pl.col("rung_number") == 2)["configuration"])


@pytest.mark.parametrize(("devices", "limit"), [(1, None), (8, 9)])
def test_decisions_do_not_depend_on_devices_or_tiles(halved, devices, limit, tmp_path, monkeypatch) -> None:
    chosen = jax.devices()[:devices]
    monkeypatch.setattr("jax.devices", lambda: chosen)
    limits = () if limit is None else ("--max-lanes", limit)
    sweep(*HALVING, *limits, "--out", tmp_path / "other")
    one, other = (pl.read_csv(out / "halving.csv") for out in (halved[0], tmp_path / "other"))
    assert_frame_equal(one, other, rel_tol=1e-5)


def test_tiles_give_the_same_table(swept, tmp_path) -> None:
    sweep(*GRID, "--max-lanes", "8", "--out", tmp_path / "tiles")
    assert_frame_equal(table(tmp_path / "tiles"), table(swept), rel_tol=1e-5, abs_tol=1e-9)


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


STATIC = ("--agent", "linucb", *WORLD, "--grid", "alpha=1,10,100", "add-bias=true,false")


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
    assert_refused(call("sweep", "--resume", "--out", interrupted), part.name, "is damaged; delete it")
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
    assert_refused(call("sweep", "--resume", "--out", tmp_path / "out"), "results.parquet", "cannot be read")
    (tmp_path / "out/results.parquet").unlink()
    assert_refused(call("sweep", "--resume", "--out", tmp_path / "out"), "results.parquet", "cannot be read")


def test_a_sweep_leaves_a_trace_of_its_first_chunks(tmp_path) -> None:
    sweep(*WORLD, "--agent", "linucb,uniform", "--profile", "--out", tmp_path / "out")
    (trace,) = (tmp_path / "out/tensorboard/plugins/profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1_000


def test_a_run_leaves_a_trace_of_its_first_chunks(tmp_path) -> None:
    assert call("run", *WORLD, "--agent", "uniform", "--profile", "--out", tmp_path / "out").status == 0
    (trace,) = (tmp_path / "out/tensorboard/plugins/profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1_000


def test_a_run_and_a_sweep_can_be_compared(swept, tmp_path) -> None:
    assert call("run", *WORLD, "--agent", "uniform", "--out", tmp_path / "uniform").status == 0
    shown = call("compare", swept, tmp_path / "uniform", "--out", tmp_path / "both")
    assert shown.status == 0, shown
    frame, best = pl.read_csv(tmp_path / "both/comparison.csv"), table(swept).row(0, named=True)
    assert frame["name"].to_list() == ["grid", "uniform"]
    assert frame["agent"].to_list() == [best["agent"], "uniform"]
    assert frame["regret"][0] == best["regret"]
    assert (tmp_path / "both/comparison.png").stat().st_size > 10_000
    assert "chosen by the seeds that are shown: grid" in shown.out
    assert read_config(str(swept / "best.json")).agent == best["agent"]


SHARED = ("--env", "wheel", "--batch-size", "16", "--steps-per-loop", "50", "--seeds", "3", "--max-lanes", "16")
LONG = (
    *("--agent", "linucb,uniform", *SHARED, "--training-loops", "2", "--metric", "cumulative_regret"),
    *("--sample", "alpha=log:0.1:100", "--num-configs", "9", "--halving", "eta=3"),
)


def start_both(*args: object) -> list[subprocess.Popen[str]]:
    """Start two processes of four devices each that make one sweep."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=4"),
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": 2,
    }
    return [start("sweep", *args, "--distributed", **variables, JAX_PROCESS_ID=index) for index in range(2)]


# Two threads tell it, piece by piece, and one may begin within the line of the other.
NETWORK = re.compile(r"\[Gloo\] |\d+ is connected to \d+ peer ranks\. ")


def ends(processes: list[subprocess.Popen[str]], seconds: float = 150) -> list[Result]:
    """Wait for both, and leave out what their network tells; kill those that do not end."""
    end, results = time.monotonic() + seconds, []
    try:
        for process in processes:
            told = process.communicate(timeout=end - time.monotonic())
            out, err = ("".join(x for x in text.splitlines(True) if not NETWORK.match(x)) for text in told)
            results.append(Result(process.returncode, out, err))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return results


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "sweep"
    sweep(*LONG, "--out", out)  # on eight devices of one process
    return out


def test_two_processes_give_the_table_of_one_and_the_first_alone_speaks(alone, tmp_path) -> None:
    first, second = ends(start_both(*LONG, "--out", tmp_path / "out"))
    assert (first.status, second.status) == (0, 0), (first, second)
    assert_frame_equal(table(tmp_path / "out"), table(alone), rel_tol=1e-5, abs_tol=1e-9)
    assert (tmp_path / "out/halving.csv").exists()
    assert "difference to the best" in first.out
    assert not second.out + second.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in alone.iterdir()}
    assert json.loads((tmp_path / "out/summary.json").read_text())["device"]["count"] == 8


@pytest.fixture(scope="module")
def stopped_both(tmp_path_factory) -> Path:
    """Directory of a sweep of two processes that were stopped."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    both = start_both(*LONG, "--out", out)
    while not list((out / "checkpoints").glob("*/*.sha256")) and all(process.poll() is None for process in both):
        time.sleep(0.01)
    for process in both:
        process.send_signal(signal.SIGTERM)
    for stopped in ends(both):
        assert stopped.status == 130, stopped
        assert f"go on with: jaxbandit sweep --resume --out {out}" in stopped.err
    assert not (out / "summary.json").exists()
    return out


@pytest.mark.parametrize("heir", ["two processes", "one process"])
def test_two_processes_that_are_stopped_go_on_to_the_same_table(heir, stopped_both, alone, tmp_path) -> None:
    out = shutil.copytree(stopped_both, tmp_path / "out")
    if heir == "one process":
        sweep("--resume", "--out", out)
    else:
        assert [result.status for result in ends(start_both("--resume", "--out", out))] == [0, 0]
    assert_frame_equal(table(out), table(alone), rel_tol=1e-5, abs_tol=1e-9)


def test_what_the_first_process_refuses_ends_both(swept) -> None:
    before = hashes(swept)
    first, second = ends(start_both(*LONG, "--out", swept))
    assert_refused(first, "another configuration")
    assert_refused(second, "the first process was refused")
    assert hashes(swept) == before
