"""One process at a time in a directory: the second one is told who is at work there."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jaxbandit._core import locks
from jaxbandit.experiments.run_directory import LOCK
from tests.command_line import SMALL, assert_refused, call, end, hashes, start

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "run"
    assert call("run", *SMALL, "--out", out).status == 0
    assert not (out / LOCK).exists()
    return out


@pytest.fixture
def begun(done, tmp_path) -> Path:
    out = Path(shutil.copytree(done, tmp_path / "run"))
    (out / "summary.json").unlink()
    return out


def test_the_second_to_resume_is_told_who_is_at_work(begun) -> None:
    def never(who: str) -> None:
        raise AssertionError(who)

    with locks.held(str(begun / LOCK), never):
        before = hashes(begun)
        words = f"process {os.getpid()} on {socket.gethostname()} is at work"
        assert_refused(call("run", "--resume", "--out", begun), str(begun), words, "allowed: wait for its end")
        assert hashes(begun) == before
    assert call("run", "--resume", "--out", begun).status == 0
    assert not (begun / LOCK).exists()


def test_what_a_killed_process_leaves_is_no_lock(begun) -> None:
    (begun / LOCK).write_text("process 1 on nowhere")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(begun / LOCK)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert_refused(call("run", "--resume", "--out", begun), "process 1 on nowhere is at work")
        process.kill()
    assert call("run", "--resume", "--out", begun).status == 0


@pytest.mark.slow
def test_of_five_that_resume_at_once_one_does_and_four_are_refused(begun) -> None:
    checkpoints = sorted(path for path in (begun / "checkpoints").iterdir() if path.suffix == ".sha256")
    shutil.rmtree(checkpoints[-1].with_suffix(""))
    checkpoints[-1].unlink()
    ended = [end(one) for one in [start("run", "--resume", "--out", begun) for _ in range(5)]]
    assert "Traceback" not in "".join(one.err for one in ended)
    assert {one.status for one in ended} <= {0, 2}
    assert 0 in {one.status for one in ended}
    for one in ended:
        assert one.status == 0 or "is at work" in one.err


def test_a_lock_is_taken_over_when_it_is_let_go(tmp_path) -> None:
    path, told = str(tmp_path / "lock"), []
    Path(path).touch()
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()

    def wait(who: str) -> None:
        told.append(who)
        process.kill()

    with locks.held(path, wait):
        assert locks.holder(path)
    process.wait()
    process.stdout.close()
    assert told == ["another process"]
    assert locks.holder(path) is None


def test_a_bucket_has_no_lock(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JAXBANDIT_GCS_MOUNT", str(tmp_path))
    (tmp_path / "bucket").mkdir()
    with locks.held(str(tmp_path / "bucket" / LOCK), lambda who: None):
        assert not list((tmp_path / "bucket").iterdir())
