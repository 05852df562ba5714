"""Sweeps end to end: the command line in, tables and pictures out."""

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from jaxbandit.experiments.config import read_config
from jaxbandit.simulation import lanes
from tests.command_line import call
from tests.experiments.sweeps import GRID, WORLD, sweep, table
from tests.support import compilations


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
    counts = {"configurations": 12, "programs": 4, "interactions": 12 * 3 * 480, "metric": "regret"}
    assert summary["sweep"] == counts | {"best": json.loads((swept / "best.json").read_text())}
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


def test_tiles_give_the_same_table(swept, tmp_path) -> None:
    sweep(*GRID, "--max-lanes", "8", "--out", tmp_path / "tiles")
    assert_frame_equal(table(tmp_path / "tiles"), table(swept), rel_tol=1e-5, abs_tol=1e-9)


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
