"""What is easily mixed up where a sweep has many configurations: their names, and their loops."""

from pathlib import Path

import numpy as np

from jaxbandit.experiments.runner import _served
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.chunks import Work
from jaxbandit.simulation.lanes import Program, tiles
from tests.command_line import call

WORLD = ("--env", "wheel", "--batch-size", "8", "--seeds", "2")


def sweep(*args: object, out: Path) -> None:
    result = call("sweep", *WORLD, *args, "--out", out)
    assert result.status == 0, result


def test_leaders_that_look_alike_keep_their_own_curves(tmp_path) -> None:
    sweep("--training-loops", "1", "--grid", "alpha=1,1.00001,1.00002", out=tmp_path / "out")
    assert len(list((tmp_path / "out/tensorboard").iterdir())) == 3


def test_a_checkpoint_is_due_by_the_loops_of_its_own_configuration(tmp_path, monkeypatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, rounds, state: saved.append(rounds))
    length = ("--training-loops", "4", "--checkpoint-every", "2")
    sweep(*length, "--grid", "steps-per-loop=10,50", out=tmp_path / "out")
    assert saved == [20, 40, 100, 200]


def test_progress_counts_the_lanes_that_are_there_and_stays_whole_beyond_the_last_tile() -> None:
    program = Program(begin=None, advance=None, nbytes=0)
    work = Work(program, tiles(1, 10, rows=4, columns=1), np.arange(1), 10, batch_size=2, edges=np.array([0, 5]))
    assert [_served(work, done) for done in (0, 3, 5, 10, 12)] == [0, 24, 40, 80, 88]
    assert _served(work, 15) == _served(work, 17) == work.interactions  # of a checkpoint of more tiles
