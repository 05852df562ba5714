"""Files that are read again by later commands: another content under the same name is refused, from any directory."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.command_line import assert_refused, call, hashes, write_ratings

WORLD = ("--rank-k", "2", "--num-actions", "4", "--batch-size", "8", "--training-loops", "4", "--steps-per-loop", "5")
LOGGED = ("--agent", "uniform", *WORLD, "--seeds", "2", "--log-interactions")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with ratings, named by a relative path, a logged run and a sweep of them, and a policy's run."""
    place, here = tmp_path_factory.mktemp("place"), Path.cwd()
    write_ratings(place / "r.csv")
    (place / "l.csv").write_text("a,b,label\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(20)))
    try:
        os.chdir(place)
        labelled = ("--env", "classification", "--data", "l.csv", *WORLD[4:], "--seeds", "2")
        for command in (
            ("run", "--ratings", "r.csv", *LOGGED, "--out", "logged"),
            ("run", "--ratings", "r.csv", *WORLD, "--seeds", "1", "--seed", "5", "--out", "run"),
            ("sweep", "--ratings", "r.csv", *WORLD, "--seeds", "2", "--grid", "alpha=0.1,1", "--out", "sweep"),
            ("run", *labelled, "--out", "classes"),
        ):
            assert call(*command).status == 0
    finally:
        os.chdir(here)
    return place


@pytest.fixture
def moved(place, tmp_path, monkeypatch) -> Path:
    """The same for a test to change: the files lie where they lay, and we are elsewhere."""
    kept = {name: (place / name).read_bytes() for name in ("r.csv", "l.csv")}
    for name in ("logged", "run", "sweep", "classes"):
        shutil.copytree(place / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    write_ratings(tmp_path / "r.csv", users=9)  # another file of the same relative name
    yield place
    for name, content in kept.items():
        (place / name).write_bytes(content)


AGAIN = {
    "resume": ("run", "--resume", "--out", "run"),
    "export": ("export", "run"),
    "evaluate": ("evaluate", "logged", "--policy-from", "run"),
    "best": ("run", "--config", "sweep/best.json", "--out", "best"),
    "config": ("run", "--config", "run/config.json", "--out", "again"),
    "labels": ("export", "classes"),
}


@pytest.mark.parametrize("command", AGAIN)
def test_later_commands_read_the_same_file_from_another_directory(command, moved) -> None:
    Path("run/summary.json").unlink()
    assert call(*AGAIN[command]).status == 0


@pytest.mark.parametrize("command", AGAIN)
def test_a_file_that_has_changed_is_refused_in_one_line_that_names_it(command, moved) -> None:
    Path("run/summary.json").unlink()
    name = "l.csv" if command == "labels" else "r.csv"
    text = (moved / name).read_text()
    (moved / name).write_text(text[:-2] + ("1\n" if text[-2] == "0" else "4\n" if text[-2] != "4" else "3\n"))
    before = hashes(Path("."))
    result = call(*AGAIN[command])
    lines = [line for line in result.err.splitlines() if not line.startswith(("building", "exporting"))]
    assert_refused(result._replace(err="\n".join(lines)), f"{str(moved / name)!r} has changed", "the file as it was")
    assert hashes(Path(".")) == before


def test_the_time_and_the_layout_of_a_file_say_nothing(moved) -> None:
    header, *rows = (moved / "r.csv").read_text().splitlines()
    (moved / "r.csv").write_text("\r\n".join([header, *rows]) + "\r\n")
    assert call("export", "run").status == 0


def test_other_ratings_may_be_named_and_an_entry_taken_out(moved) -> None:
    other = write_ratings(Path("other.csv"), users=10)
    assert call("run", "--config", "sweep/best.json", "--ratings", other, "--out", "other").status == 0
    kept = json.loads(Path("other/config.json").read_text())
    assert kept["ratings"] == str(other.absolute())
    assert list(kept["fingerprints"]) == [str(other.absolute())]
    write_ratings(moved / "r.csv", users=10)
    best = json.loads(Path("sweep/best.json").read_text())
    del best["fingerprints"]
    Path("mine.json").write_text(json.dumps(best | {"seeds": 1}))
    assert call("run", "--config", "mine.json", "--out", "mine").status == 0


def test_compare_says_that_two_runs_have_not_read_the_same(moved) -> None:
    write_ratings(moved / "r.csv", users=10)
    ratings = str(moved / "r.csv")
    assert call("run", "--ratings", ratings, *WORLD, "--seeds", "1", "--seed", "5", "--out", "now").status == 0
    assert f"not of equal worlds: the runs have not read the same in {ratings}" in call("compare", "run", "now").out
