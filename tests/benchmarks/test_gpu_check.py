"""benchmarks/accelerators/gpu_check.py, tried on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import ROOT

COMMAND = ROOT / "benchmarks" / "accelerators" / "gpu_check.py"


def check(out: Path, *only: str, flags: str = "") -> tuple[int, list[dict[str, Any]]]:
    """Return the exit status and the findings, which are on stdout and in a file."""
    command = [sys.executable, COMMAND, "--tiny", "--out", out, "--only", *only]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}
    got = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert got.stdout == (out / "gpu_check.jsonl").read_text(), got.stderr
    return got.returncode, [json.loads(line) for line in got.stdout.splitlines()]


@pytest.mark.slow
def test_on_a_cpu_draws_and_regret_are_those_of_the_cpu_and_rates_are_measured(tmp_path: Path) -> None:
    status, lines = check(tmp_path, "versions", "draws", "parity", "rates", "profile", "flags")
    assert status == 0
    found = {name: [line for line in lines if line["section"] == name] for name in {x["section"] for x in lines}}
    assert all(line["platform"] == "cpu" and line["jax"] for line in lines)
    assert found["draws"][0]["equal"] == {"arms": True, "keys": True, "users": True, "words": True}
    assert {line["case"] for line in found["parity"]} >= {"linucb concat 64x16", "agent exp3"}
    assert all(line["kept"] and line["lanes_equal"] == 1 for line in found["parity"])
    assert all(line["interactions_per_second"] > 0 and line["compile_seconds"] > 0 for line in found["rates"])
    assert [line["flag"] for line in found["flag"]] == ["default", "no graphs"]
    assert [*(tmp_path / "trace").rglob("*.xplane.pb")]
    assert found["profile"][0]["kernels_per_round"] == 0  # no streams of a GPU


def test_a_section_that_dies_is_a_finding_and_the_next_one_runs(tmp_path: Path) -> None:
    status, (first, second) = check(tmp_path, "versions", "draws", flags="--no_such_flag=1")
    assert status == 1
    assert [line["section"] for line in (first, second)] == ["versions", "draws"]
    assert "no_such_flag" in " ".join(first["error"])
