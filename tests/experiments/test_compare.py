import io
import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from matplotlib import image
from rich.console import Console

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_json
from jaxbandit.experiments.compare import compare
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.run import run
from jaxbandit.reporting import summarize, write_metrics_csv
from jaxbandit.simulation.metrics import Curves, RoundMetrics


def curves(*regrets):
    """Ten rounds of batch 2 in which every lane keeps the regret it is given, under an optimum of 4; uniform pays 2."""
    regret = np.tile(np.array(regrets, float), (10, 1))
    four = np.full_like(regret, 4.0)
    return Curves(2, np.arange(11), RoundMetrics(four - regret, regret, (regret > 0).astype(float), four / 2, four))


def finished(directory, *regrets, **entries):
    """Write what a finished run of these regrets leaves."""
    directory.mkdir(parents=True)
    write_json(directory / "config.json", asdict(checked(Config(**{"env": "wheel", **entries}))))
    write_metrics_csv(directory / "metrics.csv", curves(*regrets))
    write_json(directory / "summary.json", summarize(curves(*regrets), compile_seconds=1.0, run_seconds=2.0))
    return str(directory)


def compared(*directories, out):
    """The table of the files, and the printed lines, spaces squeezed."""
    console = Console(file=io.StringIO(), width=30, force_terminal=False)
    frame = compare(directories, str(out), console=console)
    return frame, [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def test_runs_stand_beside_each_other_with_the_settings_in_which_they_differ(tmp_path):
    first = finished(tmp_path / "first", 1, 2, agent_settings={"alpha": 0.1})
    second = finished(tmp_path / "second", 0.5, 0.5, agent_settings={"alpha": 0.3})
    greedy = finished(tmp_path / "greedy", 1, 1, agent="greedy")
    _, lines = compared(first, second, greedy, out=tmp_path / "out")
    assert lines[1] == "agent env alpha return regret arms regret seeds interactions/s"
    assert lines[3:] == [
        "first linucb wheel 0.1 2.5 ± 0.5 1.5 ± 0.5 100.0 % 30 ± 10 2 20",
        "second linucb wheel 0.3 3.500 0.5000 100.0 % 10.00 2 20",
        "greedy greedy wheel – 3.000 1.000 100.0 % 20.00 2 20",
        "mean ± standard error over seeds",
        f"picture and table in {tmp_path}/out: comparison.png, comparison.csv",
    ]


def test_the_csv_holds_all_settings_and_numbers_and_the_picture_all_curves(tmp_path):
    one, two = finished(tmp_path / "one", 1, 2), finished(tmp_path / "two", 3, agent="uniform")
    frame, _ = compared(one, two, out=tmp_path / "new" / "out")
    table = pl.read_csv(tmp_path / "new" / "out" / "comparison.csv")
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["comparison.csv", "comparison.png"]
    assert table.columns == frame.columns
    assert table["name"].to_list() == ["one", "two"]
    assert table["alpha"].to_list() == [1.0, None]
    assert table["regret"].to_list() == [1.5, 3.0]
    assert table["regret_stderr"].to_list() == [0.5, None]
    assert table["seeds"].to_list() == [2, 1]
    assert image.imread(tmp_path / "new" / "out" / "comparison.png").shape[1] == 1600


def test_a_real_run_can_be_compared(tmp_path):
    config = Config(env="wheel", agent="uniform", batch_size=4, training_loops=2, steps_per_loop=5, seeds=2)
    summary = run(config, str(tmp_path / "run"))
    frame, lines = compared(str(tmp_path / "run"), out=tmp_path / "out")
    assert frame["regret"].to_list() == [summary["final"]["regret"]["mean"]]
    assert lines[3].startswith("run uniform wheel ")


def test_a_sweep_stands_for_its_best_configuration(tmp_path):
    sweep, single = finished(tmp_path / "sweep", 1, 2), finished(tmp_path / "single", 2, 2)
    write_json(tmp_path / "sweep" / "config.json", {"base": {"agent": "uniform"}, "grid": {"alpha": [0.1, 7.0]}})
    write_json(tmp_path / "sweep" / "best.json", {"agent": "linucb", "env": "wheel", "alpha": 7.0, "batch-size": 128})
    _, lines = compared(sweep, single, out=tmp_path / "out")
    assert lines[3].startswith("sweep linucb wheel 7 ")
    assert "the best configuration of a sweep, chosen by the seeds that are shown: sweep" in lines
    assert not any("differ" in line for line in lines)


def test_worlds_and_schedules_that_differ_are_named(tmp_path):
    one = finished(tmp_path / "one", 1, env_settings={"delta": 0.5})
    two = finished(tmp_path / "two", 2, env_settings={"delta": 0.9}, batch_size=64, seed=3)
    three = finished(tmp_path / "three", 2, env="linear")
    lines = compared(one, two, out=tmp_path / "out")[1]
    assert "not of equal worlds: they differ in seed, delta" in lines
    assert "not of equal schedules: they differ in batch-size" in lines
    assert "not of equal worlds: they differ in env" in compared(one, three, out=tmp_path / "out")[1]


def test_names_are_as_short_as_tells_them_apart_and_no_directory_comes_twice(tmp_path, monkeypatch):
    for name in ("a/run", "b/run", "other"):
        finished(tmp_path / name, 1)
    monkeypatch.chdir(tmp_path)
    frame, _ = compared("a/run", str(tmp_path / "b/run"), "./a/run/", "other", out="out")
    assert frame["name"].to_list() == ["a/run", "b/run", "other"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: run.rename(run.parent / "elsewhere"), "does not exist"),
        (lambda run: (run / "config.json").unlink(), "holds no run"),
        (lambda run: (run / "summary.json").unlink(), "is unfinished"),
        (lambda run: (run / "summary.json").write_text("{"), "summary.json' cannot be read"),
        (lambda run: (run / "summary.json").write_text("[]"), "summary.json' is no JSON object"),
        (lambda run: (run / "summary.json").write_text('{"seeds": 1}'), "summary.json' is not that of a run"),
        (lambda run: (run / "metrics.csv").unlink(), "metrics.csv' cannot be read"),
        (lambda run: (run / "config.json").write_text(json.dumps({"base": {}})), "best.json' cannot be read"),
    ],
)
def test_what_is_no_finished_run_is_bad_input_before_anything_is_written(tmp_path, spoil, reason):
    good, bad = finished(tmp_path / "good", 1), finished(tmp_path / "bad", 1)
    spoil(tmp_path / "bad")
    with pytest.raises(InputError, match=f"{reason}.*; allowed: ") as caught:
        compare([good, bad], str(tmp_path / "out"))
    assert bad in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_to_compare_and_a_place_that_cannot_be_written_are_bad_input(tmp_path):
    with pytest.raises(InputError, match="there is none; allowed: one or more"):
        compare([], str(tmp_path / "out"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no directory"):
        compare([str(tmp_path / "file")], str(tmp_path / "out"))
    with pytest.raises(InputError, match="cannot write"):
        compare([finished(tmp_path / "one", 1)], str(tmp_path / "file"))


def test_a_diverged_run_is_shown_as_not_finite(tmp_path):
    _, lines = compared(finished(tmp_path / "one", 1, np.nan), finished(tmp_path / "two", 1, 1), out=tmp_path / "out")
    assert lines[3].startswith("one linucb wheel not finite not finite ")
