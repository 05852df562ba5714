"""The metric file of a tuning trial: its exact form, which values get there, and what is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.simulation.metrics import Curves, RoundMetrics
from jaxbandit.vertex.trainer import metric_file
from tests.command_line import SMALL, assert_refused, call


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    return {"CLOUD_ML_TRIAL_ID": "3", "CLOUD_ML_HP_METRIC_FILE": str(tmp_path / "hypertune" / "output.metrics")}


@pytest.fixture
def trial(environ, monkeypatch) -> Path:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Path(environ["CLOUD_ML_HP_METRIC_FILE"])


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_what_the_tuning_service_reads(environ, monkeypatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1795517793.76)
    metric_file.report("final_average_return", 0.75, 20, environ)
    text = (
        '{"checkpoint_path": "", "final_average_return": "0.75", "global_step": "20", '
        '"timestamp": 1795517793.76, "trial": "3"}\n'
    )
    path = Path(environ["CLOUD_ML_HP_METRIC_FILE"])
    assert path.read_text() == text
    metric_file.report("final_average_return", 1e-7, 40, environ)
    assert float(lines(path)[1]["final_average_return"]) == 1e-7
    assert {name.name for name in path.parent.iterdir()} == {"output.metrics"}


def test_the_last_hundred_lines_are_kept(environ) -> None:
    for step in range(103):
        metric_file.report("final_regret", float(step), step, environ)
    kept = lines(Path(environ["CLOUD_ML_HP_METRIC_FILE"]))
    assert [line["global_step"] for line in kept] == [str(step) for step in range(3, 103)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_value_that_is_not_finite_is_refused(value, environ) -> None:
    with pytest.raises(InputError, match=r"^final_regret is .*; allowed: a finite number$"):
        metric_file.report("final_regret", value, 1, environ)
    assert not Path(environ["CLOUD_ML_HP_METRIC_FILE"]).exists()


def test_outside_of_a_trial_nothing_is_written(environ, make: Callable[[int], Curves]) -> None:
    del environ["CLOUD_ML_TRIAL_ID"]
    metric_file.report("final_regret", 1.0, 1, environ)
    assert metric_file.while_running("final_regret", 100, environ) is None
    assert not Path(environ["CLOUD_ML_HP_METRIC_FILE"]).exists()


@pytest.fixture
def make() -> Callable[[int], Curves]:
    def curves(rounds: int) -> Curves:
        rewards = np.arange(rounds, dtype=float)[:, None]
        return Curves(4, np.arange(rounds + 1), RoundMetrics(rewards, *(np.ones((rounds, 1)) for _ in range(4))))

    return curves


def test_a_long_run_reports_fifty_times_at_most(environ, make) -> None:
    watch = metric_file.while_running("final_average_return", 1000, environ)
    for rounds in range(5, 1001, 5):
        watch(make(rounds))
    found = lines(Path(environ["CLOUD_ML_HP_METRIC_FILE"]))
    assert len(found) == 49  # the final value is reported apart
    assert (found[0]["global_step"], found[0]["final_average_return"]) == ("80", "18.5")  # rounds 18 and 19 of 20


def test_a_value_on_the_way_that_is_not_finite_is_left_out(environ, make) -> None:
    watch = metric_file.while_running("final_average_return", 100, environ)
    curves = make(40)
    curves.sums.average_return[39] = np.nan
    watch(curves)
    watch(make(50))
    (line,) = lines(Path(environ["CLOUD_ML_HP_METRIC_FILE"]))
    assert line["global_step"] == "200"


def test_a_window_that_begins_between_points_is_made_of_the_points_that_cover_it(environ) -> None:
    sums = np.array([[8.0], [8.0], [20.0]])
    curves = Curves(1, np.array([0, 8, 12, 20]), RoundMetrics(*[sums] * 5))
    watch = metric_file.while_running("final_average_return", 100, environ)
    watch(curves)  # the final tenth begins within the last point
    (line,) = lines(Path(environ["CLOUD_ML_HP_METRIC_FILE"]))
    assert line["final_average_return"] == "2.5"


@pytest.mark.parametrize("name", metric_file.METRICS)
def test_every_metric_is_reported_as_the_summary_has_it(name, trial, monkeypatch, whole) -> None:
    monkeypatch.setenv("JAXBANDIT_METRIC", name)
    assert call("run", "--resume", "--out", whole).status == 0
    summary = json.loads((whole / "summary.json").read_text())
    final = {f"final_{key}": value["mean"] for key, value in summary["final"].items()}
    final["interactions_per_second"] = summary["interactions_per_second"]
    assert set(final) == set(metric_file.METRICS)
    assert float(lines(trial)[-1][name]) == final[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert call("run", *SMALL, "--out", out).status == 0
    return out


def test_a_value_on_the_way_is_what_a_run_that_ends_there_has(trial, tmp_path) -> None:
    rounds = ("--steps-per-loop", "10")  # so few that each has a row of its own
    short = call("run", *SMALL, *rounds, "--training-loops", "10", "--out", tmp_path / "short")
    assert short.status == 0, short
    trial.unlink()
    assert call("run", *SMALL, *rounds, "--out", tmp_path / "long").status == 0
    summary = json.loads((tmp_path / "short" / "summary.json").read_text())
    (line,) = (x for x in lines(trial) if x["global_step"] == str(summary["interactions_per_seed"]))
    assert float(line["final_average_return"]) == pytest.approx(summary["final"]["average_return"]["mean"], rel=1e-5)


def test_what_is_better_is_told_for_every_metric() -> None:
    better = {name for name, goal in metric_file.METRICS.items() if goal == "MAXIMIZE"}
    assert better == {"final_average_return", "final_average_return_so_far", "interactions_per_second"}
    assert set(metric_file.METRICS.values()) == {"MAXIMIZE", "MINIMIZE"}
    assert metric_file.chosen({}) == "final_average_return"


def test_an_unknown_metric_is_refused_before_any_work(trial, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("JAXBANDIT_METRIC", "final_regrets")
    refused = call("run", *SMALL, "--out", tmp_path / "run")
    assert_refused(refused, "JAXBANDIT_METRIC is 'final_regrets'", "did you mean 'final_regret'?")
    assert "building" not in refused.err
    assert not (tmp_path / "run").exists()


def test_a_run_whose_final_value_is_not_finite_fails_and_keeps_its_results(trial, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(metric_file, "value_of", lambda summary, name: None)
    done = call("run", *SMALL, "--out", tmp_path / "run")
    assert_refused(done._replace(err=done.err.splitlines()[-1]), "final_average_return is not finite")
    assert (tmp_path / "run" / "summary.json").exists()
