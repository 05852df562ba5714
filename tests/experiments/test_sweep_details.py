"""What is easily mixed up where a sweep has many configurations: their names, and their loops."""

from pathlib import Path

from jaxbandit.simulation.checkpoints import Checkpoints
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
