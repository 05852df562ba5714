"""Several machines of one job: who is who, one run of all of them, and lists of machines that cannot be."""

import json
import os
import socket
import subprocess
import time

import numpy as np
import pytest

from jaxbandit._core import processes
from tests.command_line import SMALL, assert_refused, call, shell, start

SPEC = {"cluster": {"workerpool0": ["127.0.0.1:2222"], "workerpool1": ["127.0.0.1:2222"]}, "environment": "cloud"}


def spec(pool: int, index: int = 0, **changes: object) -> str:
    return json.dumps(SPEC | {"task": {"type": f"workerpool{pool}", "index": index}} | changes)


def test_two_machines_of_a_job_make_one_run_and_the_first_alone_writes(bucket, tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bucket.variables["JAXBANDIT_COORDINATOR_PORT"] = str(free.getsockname()[1])
    both: list[subprocess.Popen[str]] = []
    try:
        for pool in (0, 1):
            own = {"CLUSTER_SPEC": spec(pool), "CLOUD_ML_HP_METRIC_FILE": str(tmp_path / f"metric-{pool}")}
            both.append(start("run", *SMALL, **bucket.variables | own))
        until = time.monotonic() + 150
        said = [process.communicate(timeout=until - time.monotonic()) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    assert "results in" in said[0][0]
    assert "results in" not in said[1][0]
    count = json.loads((bucket.model / "summary.json").read_text())["device"]["count"]
    assert count == 2 * len(os.sched_getaffinity(0))
    assert bucket.names() == {"model", "checkpoints", "logs"}
    assert len(list(bucket.logs.iterdir())) == 1
    assert (tmp_path / "metric-0").exists()
    assert not (tmp_path / "metric-1").exists()
    assert shell("run", *SMALL, "--out", tmp_path / "alone").status == 0
    together, alone = (
        np.loadtxt(p / "metrics.csv", delimiter=",", skiprows=1) for p in (bucket.model, tmp_path / "alone")
    )
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_processes_are_numbered_pool_after_pool(monkeypatch) -> None:
    cluster = {f"workerpool{i}": [f"host-{i}-{j}:2222" for j in range(n)] for i, n in ((1, 3), (0, 1), (2, 1))}
    expected = {(0, 0): 0, (1, 0): 1, (1, 2): 3, (2, 0): 4}
    for (pool, index), rank in expected.items():
        monkeypatch.setenv("CLUSTER_SPEC", spec(pool, index, cluster=cluster))
        assert processes.pool() == ("host-0-0:3333", 5, rank)
    monkeypatch.setenv("JAXBANDIT_COORDINATOR_PORT", "4000")
    assert processes.pool().coordinator == "host-0-0:4000"
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    assert processes.pool() is None


def test_one_machine_alone_joins_nobody(monkeypatch) -> None:
    monkeypatch.setenv("CLUSTER_SPEC", spec(0, cluster={"workerpool0": ["127.0.0.1:2222"]}))
    assert processes.pool() is None


@pytest.mark.parametrize(
    "text", ["{", "[1]", "{}", spec(2), spec(1, 1), spec(0, cluster={"workerpool1": ["a:1"]}), spec(0, task=None)]
)
def test_a_list_of_machines_that_is_none_is_refused(text, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CLUSTER_SPEC", text)
    assert_refused(call("run", *SMALL, "--out", tmp_path / "run"), "CLUSTER_SPEC is", "workerpool0")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("port", ["0", "70000", "http", ""])
def test_a_port_that_is_none_is_refused(port, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CLUSTER_SPEC", spec(0))
    monkeypatch.setenv("JAXBANDIT_COORDINATOR_PORT", port)
    assert_refused(call("run", *SMALL, "--out", tmp_path / "run"), "JAXBANDIT_COORDINATOR_PORT is", "1 to 65535")
