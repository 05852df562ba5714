"""`jaxbandit evaluate` on a table that no run has written."""

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.log_reader import open_log
from jaxbandit.experiments.run import run
from jaxbandit.policies.own_log import LogColumns, open_own_log
from tests.command_line import assert_refused, call

LINEAR = Config(env="linear", agent="uniform", batch_size=16, training_loops=5, steps_per_loop=20, seeds=1,
                env_settings={"normalized": True, "sigma": 1.0, "context_dim": 4})  # fmt: skip
FEATURES = [f"f{i}" for i in range(4)]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logged run, one that has learned, and the log as a table."""
    place = tmp_path_factory.mktemp("own")
    run(LINEAR, str(place / "logged"), log_interactions=True)
    run(Config(**{**vars(LINEAR), "agent": "linucb", "seed": 3}), str(place / "trained"))
    frames = pl.concat(open_log(epath.Path(place / "logged")).frames())
    users = pl.DataFrame(frames["user"].to_numpy(), schema=FEATURES)
    table = pl.concat(
        [frames.select("action", "reward", p="propensity", note=pl.lit('a 5" disk')), users], how="horizontal"
    )
    table.write_csv(place / "own.csv", quote_style="never")
    (place / "own.csv.gz").write_bytes(gzip.compress((place / "own.csv").read_bytes()))
    table.write_parquet(place / "own.parquet")
    table.write_ndjson(place / "own.json")
    return place


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz", "own.parquet", "own.json"])
def test_a_log_as_a_table_is_worth_what_the_log_of_the_run_is(name: str, places: Path, tmp_path: Path) -> None:
    policy = ("--policy-from", places / "trained")
    columns = ("--propensity-column", "p", "--feature-columns", ",".join(FEATURES))
    assert call("evaluate", places / "logged", *policy).status == 0
    shown = call("evaluate", places / name, *policy, *columns, "--out", tmp_path / "own.json")
    assert shown.status == 0, shown
    ours = json.loads((places / "logged" / "evaluation.json").read_text())["estimates"]
    theirs = json.loads((tmp_path / "own.json").read_text())["estimates"]
    for kind in ("ips", "snips", "logged"):
        assert theirs[kind]["value"] == pytest.approx(ours[kind]["value"], rel=1e-4)
    for kind in ("dm", "dr"):  # folds are of rows, not of rounds
        assert abs(theirs[kind]["value"] - ours[kind]["value"]) < theirs[kind]["stderr"]


def test_words_and_places_do_and_the_numbers_lie_beside_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{rng.random():.3f} {name} {int(rng.random() < 0.3)}" for name in rng.choice(["a", "b", "c"], 600)]
    (tmp_path / "clicks.txt").write_text("\n".join(f"{row} 0.3333" for row in rows))
    named = [f"--{name}-column=column:{at}" for name, at in (("action", 2), ("reward", 3), ("propensity", 4))]
    assert call("evaluate", tmp_path / "clicks.txt", "--agent", "uniform", *named).status == 0
    found = json.loads((tmp_path / "clicks.txt.evaluation.json").read_text())
    mean = np.mean([float(row.split()[2]) for row in rows])
    assert found["estimates"]["snips"]["value"] == pytest.approx(mean, abs=1e-5)
    assert (found["interactions"], found["logged_agent"]) == (600, None)


def test_what_is_no_log_is_refused(places: Path, tmp_path: Path) -> None:
    def refused(text: str, *words: str) -> None:
        (tmp_path / "own.csv").write_text("action,reward,propensity,x\n" + text)
        assert_refused(call("evaluate", tmp_path / "own.csv", "--agent", "uniform", "--feature-columns", "x"), *words)

    refused("a,1,0.5,1\nb,1,0,1\n", "row 3: propensity = 0; allowed: above 0, to 1")
    refused("a,1,0.5,1\nb,1,1.5,1\n", "row 3: propensity = 1.5; allowed: a number from 0 to 1")
    refused("a,nan,0.5,1\nb,1,1,1\n", "row 2: reward = nan; allowed: a number")
    refused("a,1,0.5,1\nb,1,0.5,red\n", "row 3: x = red; allowed: a number")
    refused("a,1,0.5,1\nNA,1,0.5,1\n", "row 3: action = NA, as tools write what is missing")
    refused("a,1,0.5,1\na,1,0.5,1\n", "one action only")
    refused("a,1,0.5,1\n", "1 interactions; allowed: at least 2")
    with pytest.raises(InputError, match="no column 'act': did you mean 'action'"):
        open_own_log(str(tmp_path / "own.csv"), LogColumns(action="act"))
    with pytest.raises(InputError, match="one given twice"):
        open_own_log(str(tmp_path / "own.csv"), LogColumns(action="x", reward="x"))
    assert_refused(
        call("evaluate", tmp_path / "none.csv", "--agent", "uniform", "--action-column", "a"), "cannot be read"
    )
    assert_refused(call("evaluate", places / "logged", "--agent", "uniform", "--action-column", "a"), "of a run")
    trained = ("--policy-from", places / "trained", "--propensity-column", "p", "--feature-columns")
    assert_refused(call("evaluate", places / "own.csv", *trained, "f0,f1"), "2 features, but the policy takes 4")
    table = (places / "own.csv").read_text().replace("\n0,", "\n9,", 1)
    (tmp_path / "arms.csv").write_text(table)
    words = "action = 9; allowed: 0 to 4, the arms of the policy"
    assert_refused(call("evaluate", tmp_path / "arms.csv", *trained, ",".join(FEATURES)), words)
