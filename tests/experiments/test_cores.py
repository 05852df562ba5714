"""All cores of a CPU, as processes of their own take them; and what one number of devices began, another ends."""

import json
import os
import subprocess

import numpy as np
import polars as pl
import pytest

from tests.command_line import SMALL, end, shell, start

CORES = len(os.sched_getaffinity(0))
SWEEP = (*SMALL, "--grid", "alpha=0.5,1,2")


def devices(out) -> int:
    return json.loads((out / "summary.json").read_text())["device"]["count"]


@pytest.mark.parametrize("command", [("run", *SMALL), ("sweep", *SWEEP)], ids=["run", "sweep"])
def test_a_command_takes_all_cores_without_a_flag(command, tmp_path) -> None:
    result = shell(*command, "--out", tmp_path / "out")
    assert result.status == 0, result.err
    assert devices(tmp_path / "out") == CORES


def test_python_takes_all_cores_too(tmp_path) -> None:
    program = (
        "import jaxbandit, jax;"
        "config = jaxbandit.Config(env='wheel', batch_size=8, training_loops=1, steps_per_loop=5, seeds=2);"
        f"jaxbandit.run(config, {str(tmp_path / 'out')!r})"
    )
    result = end(start(program=program))
    assert result.status == 0, result.err
    assert devices(tmp_path / "out") == CORES


def test_a_number_of_devices_that_somebody_has_said_stays(tmp_path) -> None:
    count = CORES + 1
    flags = f"--xla_force_host_platform_device_count={count}"
    result = end(start("run", *SMALL, "--out", tmp_path / "out", XLA_FLAGS=flags))
    assert result.status == 0, result.err
    assert devices(tmp_path / "out") == count


def test_a_sweep_that_was_stopped_goes_on_with_another_number_of_devices(tmp_path) -> None:
    def on(count: int, out: str, *more: str) -> subprocess.Popen[str]:
        flags = (*SMALL, "--training-loops", 300, "--grid", "alpha=0.5,1,2", "--checkpoint-every", 1)
        devices = f"--xla_force_host_platform_device_count={count}"
        return start("sweep", *flags, "--out", tmp_path / out, *more, XLA_FLAGS=devices)

    def share(line: str) -> int:
        """Percent of a line of progress."""
        return int(line.split("%")[0].split()[-1])

    assert end(on(1, "whole")).status == 0
    stopped = on(1, "part")
    next(line for line in stopped.stderr if line.startswith("simulating") and 20 < share(line) < 80)
    stopped.terminate()
    assert end(stopped).status == 130
    resumed = end(on(4, "part", "--resume"))
    assert resumed.status == 0, resumed.err
    assert share(next(line for line in resumed.err.splitlines() if line.startswith("simulating"))) > 20
    whole, part = (pl.read_csv(tmp_path / out / "results.csv").sort("alpha") for out in ("whole", "part"))
    np.testing.assert_allclose(part["regret"], whole["regret"], rtol=1e-3)  # promise 1
