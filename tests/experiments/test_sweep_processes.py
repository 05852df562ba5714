"""A sweep of two processes: the same table as one, stopped and refused together."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from tests.command_line import Result, assert_refused, hashes, start
from tests.experiments.sweeps import sweep, table

SHARED = ("--env", "wheel", "--batch-size", "16", "--steps-per-loop", "50", "--seeds", "3", "--max-lanes", "16")
LONG = (
    *("--agent", "linucb,uniform", *SHARED, "--training-loops", "2", "--metric", "cumulative_regret"),
    *("--sample", "alpha=log:0.1:100", "--num-configs", "9", "--halving", "eta=3"),
)


def start_both(*args: object) -> list[subprocess.Popen[str]]:
    """Start two processes of four devices each that make one sweep."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=4"),
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": 2,
    }
    return [start("sweep", *args, "--distributed", **variables, JAX_PROCESS_ID=index) for index in range(2)]


# Two threads tell it, piece by piece, and one may begin within the line of the other.
NETWORK = re.compile(r"\[Gloo\] |\d+ is connected to \d+ peer ranks\. |Expected number of connected peer ranks is ")


def ends(processes: list[subprocess.Popen[str]], seconds: float = 150) -> list[Result]:
    """Wait for both, and leave out what their network tells; kill those that do not end."""
    end, results = time.monotonic() + seconds, []
    try:
        for process in processes:
            told = process.communicate(timeout=end - time.monotonic())
            out, err = ("".join(x for x in text.splitlines(True) if not NETWORK.match(x)) for text in told)
            results.append(Result(process.returncode, out, err))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return results


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "sweep"
    sweep(*LONG, "--out", out)  # on eight devices of one process
    return out


@pytest.mark.slow
def test_two_processes_give_the_table_of_one_and_the_first_alone_speaks(alone, tmp_path) -> None:
    first, second = ends(start_both(*LONG, "--out", tmp_path / "out"))
    assert (first.status, second.status) == (0, 0), (first, second)
    assert_frame_equal(table(tmp_path / "out"), table(alone), rel_tol=1e-5, abs_tol=1e-9)
    assert (tmp_path / "out/halving.csv").exists()
    assert "difference to the best" in first.out
    assert not second.out + second.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in alone.iterdir()}
    assert json.loads((tmp_path / "out/summary.json").read_text())["device"]["count"] == 8


@pytest.fixture(scope="module")
def stopped_both(tmp_path_factory) -> Path:
    """Directory of a sweep of two processes that were stopped."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    both = start_both(*LONG, "--out", out)
    while not list((out / "checkpoints").glob("*/*.sha256")) and all(process.poll() is None for process in both):
        time.sleep(0.01)
    for process in both:
        process.send_signal(signal.SIGTERM)
    for stopped in ends(both):
        assert stopped.status == 130, stopped
        assert f"go on with: jaxbandit sweep --resume --out {out}" in stopped.err
    assert not (out / "summary.json").exists()
    return out


@pytest.mark.parametrize("heir", ["two processes", "one process"])
@pytest.mark.slow
def test_two_processes_that_are_stopped_go_on_to_the_same_table(heir, stopped_both, alone, tmp_path) -> None:
    out = shutil.copytree(stopped_both, tmp_path / "out")
    if heir == "one process":
        sweep("--resume", "--out", out)
    else:
        assert [result.status for result in ends(start_both("--resume", "--out", out))] == [0, 0]
    assert_frame_equal(table(out), table(alone), rel_tol=1e-5, abs_tol=1e-9)


def test_what_the_first_process_refuses_ends_both(swept) -> None:
    before = hashes(swept)
    first, second = ends(start_both(*LONG, "--out", swept))
    assert_refused(first, "another configuration")
    assert_refused(second, "the first process was refused")
    assert hashes(swept) == before
