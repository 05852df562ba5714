"""Interruption: a run that is killed or stopped goes on from its last checkpoint to the same numbers, bit for bit."""

import json
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from etils import epath
from tensorboardX.proto.event_pb2 import Event

from jaxbandit.experiments.run_directory import can_resume
from jaxbandit.simulation.checkpoints import Checkpoints
from tests.command_line import ROOT, Result, assert_refused, call, hashes, shell, start

AGENTS = {"linucb": ("--agent", "linucb"), "neural": ("--agent", "neural-boltzmann-gumbel", "--user-layers", "8,4")}
INTERRUPTED = (  # between two programs nothing is said of interactions
    r"jaxbandit: interrupted( after [\d,]+ of [\d,]+ interactions)?; go on with: jaxbandit sweep --resume --out {out}"
)
WORLD = ("--env", "wheel", "--batch-size", "16", "--steps-per-loop", "50", "--seeds", "2", "--checkpoint-every", "10")


def flags(agent: str) -> tuple[str, ...]:
    """Of a run that computes for some seconds, so that it can be met in the middle."""
    return (*AGENTS[agent], *WORLD, "--training-loops", {"linucb": "200", "neural": "100"}[agent])


def numbers(out: Path) -> tuple[dict[str, Any], bytes]:
    """What must be equal bit for bit: the summary without what a clock measured, and all rows."""
    summary = json.loads((out / "summary.json").read_text())
    del summary["seconds"], summary["interactions_per_second"], summary["sha256"]
    return summary, (out / "metrics.csv").read_bytes()


def steps(out: Path) -> list[int]:
    """Interactions at each value of the regret in TensorBoard's files."""
    found = []
    for path in sorted((out / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:  # TFRecords: length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [event.step for value in event.summary.value if value.tag == "metrics/regret"]
            data = data[16 + length :]
    return found


def stop(process: subprocess.Popen[str], number: signal.Signals, when: Callable[[], bool]) -> Result:
    """Send a signal as soon as `when` holds."""
    began = time.monotonic()
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 120
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return Result(process.returncode, out, err)


@pytest.fixture(scope="session", params=AGENTS)
def agent(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def whole(agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / agent
    result = shell("run", *flags(agent), "--out", out)
    assert result.status == 0, result
    return out


def test_a_killed_run_goes_on_to_the_same_numbers(agent, whole, tmp_path) -> None:
    out = tmp_path / "run"
    process = start("run", *flags(agent), "--out", out)
    killed = stop(process, signal.SIGKILL, lambda: len(Checkpoints(out / "checkpoints").rounds()) > 0)
    assert killed.status == -signal.SIGKILL
    assert not (out / "summary.json").exists()
    resumed = shell("run", *flags(agent), "--resume", "--out", out)
    assert resumed.status == 0, resumed
    assert numbers(out) == numbers(whole)
    assert steps(out) == steps(whole)


def test_a_stopped_run_saves_says_how_to_go_on_and_does(whole, agent, tmp_path) -> None:
    out = tmp_path / "run"
    process = start("run", *flags(agent), "--out", out)
    stopped = stop(process, signal.SIGTERM, lambda: (out / "tensorboard").exists())
    assert stopped.status == 130, stopped
    assert not stopped.out
    last = stopped.err.splitlines()[-1]
    assert last.startswith("jaxbandit: interrupted after ")
    assert last.endswith(f"go on with: jaxbandit run --resume --out {out}")
    assert "Traceback" not in stopped.err
    resumed = shell("run", "--resume", "--out", out)
    assert resumed.status == 0, resumed
    assert numbers(out) == numbers(whole)
    assert steps(out) == steps(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_before_its_first_round_says_so_and_leaves_nothing(number, tmp_path) -> None:
    process = start(
        "run", "--env", "linear-per-arm", "--agent", "neural-boltzmann", "--batch-size", "77", "--out", tmp_path / "run"
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("building")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    lines = [line for line in err.splitlines() if not line.startswith(("building", "compiling"))]
    assert lines == ["jaxbandit: interrupted"]
    assert not out
    assert not (tmp_path / "run").exists()


CARELESS = """
import os, signal, sys

class Loader:
    def find_spec(self, name, path=None, target=None):
        if name == "jaxlib":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except BaseException:  # as some extensions do
                pass

sys.meta_path.insert(0, Loader())
from jaxbandit.cli.main import main
main(sys.argv[1:])
"""


def test_a_signal_while_a_library_is_loaded_is_not_lost(tmp_path) -> None:
    args = ("run", "--env", "wheel", "--training-loops", "1", "--out", tmp_path / "run")
    command = [sys.executable, "-c", CARELESS, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "jaxbandit: interrupted\n")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_that_is_resumed_shows_its_table_again_and_changes_nothing(whole) -> None:
    before = hashes(whole)
    shown = call("run", "--resume", "--out", whole)
    assert shown.status == 0
    assert "suboptimal" in shown.out
    assert f"results in {whole}" in shown.out
    assert not shown.err
    assert hashes(whole) == before


def test_a_run_killed_before_its_summary_was_written_is_completed(whole, tmp_path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for name in ("summary.json", "metrics.csv", "curves.png"):
        (out / name).unlink()
    assert shell("run", "--resume", "--out", out).status == 0
    assert numbers(out) == numbers(whole)
    assert (out / "curves.png").stat().st_size > 10_000


def test_a_run_killed_while_a_checkpoint_was_written_goes_on_from_the_one_before(whole, tmp_path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "summary.json").unlink()
    first, last = Checkpoints(out / "checkpoints").rounds()
    (out / "checkpoints" / f"{last:012d}.sha256").unlink()
    shutil.rmtree(out / "checkpoints" / f"{last:012d}" / "d")
    assert Checkpoints(out / "checkpoints").rounds() == [first]
    assert shell("run", "--resume", "--out", out).status == 0
    assert numbers(out) == numbers(whole)
    assert Checkpoints(out / "checkpoints").rounds()[-1] == last


def test_a_damaged_summary_of_a_finished_run_is_refused(whole, tmp_path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "summary.json").write_text("{")
    assert_refused(call("run", "--resume", "--out", out), "summary.json", "delete it")


SWEEPS = {
    "groups": ("--agent", "linucb,lints", "--training-loops", "60", "--grid", "alpha=0.1,1,10", "add-bias=true,false"),
    "halving in tiles": (
        *("--agent", "linucb,uniform", "--training-loops", "90", "--halving", "eta=3", "--max-lanes", "8"),
        *("--sample", "alpha=log:0.1:100", "--num-configs", "9"),
    ),
}


@pytest.fixture(scope="session", params=SWEEPS)
def sweep(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return *SWEEPS[request.param], "--env", "wheel", "--batch-size", "16", "--steps-per-loop", "50", "--seeds", "3"


@pytest.fixture(scope="session")
def whole_sweep(sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "sweep"
    result = shell("sweep", *sweep, "--out", out)
    assert result.status == 0, result
    return out


def meet(process: subprocess.Popen[str], out: Path, before: int, number: signal.Signals, seconds: float) -> Result:
    """Send a signal so many seconds after the process has taken the directory, unless it is done by then."""
    while written(out) == before and process.poll() is None:
        time.sleep(0.01)
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    out_text, err = process.communicate(timeout=120)
    return Result(process.returncode, out_text, err)


def written(out: Path) -> int:
    """When config.json was written last; a process that goes on writes it again."""
    return (out / "config.json").stat().st_mtime_ns if (out / "config.json").exists() else 0


@pytest.mark.slow
def test_a_sweep_that_is_met_anywhere_goes_on_to_the_same_table(sweep, whole_sweep, tmp_path) -> None:
    out, seed = tmp_path / "sweep", random.randrange(10**6)
    print(f"the moments are those of seed {seed}")  # shown where it fails
    moments, kept = random.Random(seed), False
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        before = written(out)
        process = start("sweep", *(("--resume",) if kept else sweep), "--out", out)
        met = meet(process, out, before, number, moments.uniform(0, 2.5))
        kept = can_resume(epath.Path(out / "checkpoints"))
        assert "Traceback" not in met.err
        assert met.status in (0, 130 if number == signal.SIGTERM else -number), met
        if number == signal.SIGTERM and met.status:
            last = met.err.splitlines()[-1]
            assert re.fullmatch(INTERRUPTED.format(out=re.escape(str(out))) if kept else "jaxbandit: interrupted", last)
            assert out.exists() == kept
        if not kept:
            shutil.rmtree(out, ignore_errors=True)  # of one that was killed before it had saved anything
    result = shell("sweep", *(("--resume",) if out.exists() else sweep), "--out", out)
    assert result.status == 0, result
    assert not (out / "checkpoints").exists()
    for name in ("results.csv", "results.parquet", "best.json", "metrics.csv", "config.json", "halving.csv"):
        assert (out / name).exists() == (whole_sweep / name).exists()
        if (out / name).exists():
            assert (out / name).read_bytes() == (whole_sweep / name).read_bytes(), name
