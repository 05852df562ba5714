"""Agents that have come to numbers that are not finite: table and summary say so, and nobody acts on them."""

import json
from pathlib import Path

import pytest

from tests.command_line import assert_refused, call

WORLD = ("--env", "wheel", "--batch-size", "8", "--training-loops", "10", "--steps-per-loop", "4", "--seeds", "2")
AGENT = ("--agent", "neural-epsilon-greedy", "--user-layers", "4", "--train-steps", "2", "--buffer-size", "64")


@pytest.fixture(scope="module")
def lost(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("lost") / "run"
    result = call("run", *WORLD, *AGENT, "--learning-rate", "1e30", "--out", out)
    assert result.status == 0, result
    assert "warning: neural-epsilon-greedy diverged in 2 of 2 seeds" in result.out
    assert "not finite" in result.out
    return out


def test_the_summary_says_so_and_holds_no_number_of_it(lost) -> None:
    summary = json.loads((lost / "summary.json").read_text())
    assert summary["diverged"] == 2
    assert summary["final"]["regret"] == {"mean": None, "stderr": None}
    assert summary["baselines"]["uniform"]["mean"] is not None
    assert (lost / "curves.png").exists()
    shown = call("run", "--resume", "--out", lost)
    assert "diverged in 2 of 2 seeds" in shown.out


def test_nobody_acts_on_what_it_has_learned(lost) -> None:
    result = call("export", lost)
    lines = [line for line in result.err.splitlines() if not line.startswith(("building", "exporting"))]
    assert_refused(result._replace(err="\n".join(lines)), "of seed 0 has diverged", "nan or infinite")
    assert not (lost / "policy").exists()


def test_a_sweep_ranks_it_last(tmp_path) -> None:
    args = (*WORLD, *AGENT, "--grid", "learning-rate=1e30,0.01,1e29", "--out", tmp_path / "sweep")
    result = call("sweep", *args)
    assert result.status == 0, result
    assert "2 configurations are not finite: a seed diverged" in result.out
    assert json.loads((tmp_path / "sweep/best.json").read_text())["learning-rate"] == 0.01


def test_a_healthy_run_says_nothing(tmp_path) -> None:
    result = call("run", *WORLD, *AGENT, "--out", tmp_path / "run")
    assert "diverged" not in result.out
    assert json.loads((tmp_path / "run/summary.json").read_text())["diverged"] == 0


@pytest.mark.parametrize("value", ["1e39", "-1e39", "1e-39", "1e-300"])
def test_a_number_that_devices_do_not_have_is_refused(value, tmp_path) -> None:
    args = ("--agent", "linucb", "--tikhonov-weight", value, "--out", tmp_path / "x")
    assert_refused(call("run", *WORLD, *args), "tikhonov_weight is", value, "allowed: a number")
    assert_refused(call("sweep", *WORLD, "--grid", f"alpha=1,{value}", "--out", tmp_path / "x"), "alpha")
