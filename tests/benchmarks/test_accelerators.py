"""Sweeps compile for a TPU and an H100 that are not there, into programs that their compilers call fit.

Those marked `accelerators` need the extra of this name. Each program is compiled once, in a process of its own.
"""

import functools
import json
import os
import subprocess
import sys
from typing import Any

import compile as compiler
import pytest
import targets

from jaxbandit.agents import AGENTS
from tests.command_line import ROOT

COMMAND = ROOT / "benchmarks" / "accelerators" / "compile.py"
FLAGSHIP, ONE_LANE, LANE_EACH = "linucb concat 64x16", "linucb concat 1x1", "linucb concat 1x4"
NEURAL, SLATES = "neural-epsilon-greedy 64x16", "agent cascade-linucb"
# At most: kernels of a round on an H100, megabytes on a chip.
KERNELS = {FLAGSHIP: 300, ONE_LANE: 300, NEURAL: 200, SLATES: 300}
MEGABYTES = {FLAGSHIP: 150, ONE_LANE: 10, LANE_EACH: 10, NEURAL: 1500, SLATES: 50}


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line on stderr with which a command ends that compiles nothing."""
    monkeypatch.setattr(sys, "argv", ["compile.py", *arguments])
    monkeypatch.setattr(compiler, "compiled", lambda *_: pytest.fail("it compiled"))
    with pytest.raises(SystemExit) as end:
        compiler.main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    (line,) = err.splitlines()
    return line


def test_a_target_that_does_not_exist_is_refused(monkeypatch, capsys) -> None:
    line = refused(monkeypatch, capsys, "--for", "v5e:2x3")
    assert (
        line == "compile.py: unknown target 'v5e:2x3': did you mean 'v5e:2x2'? allowed: h100, v5e:2x2, v5e:4x4, v6e:2x2"
    )


@pytest.mark.parametrize(("target", "module"), [("h100", "nvidia.cuda_nvcc"), ("v5e:4x4", "libtpu")])
def test_a_missing_compiler_is_named_with_what_installs_it(monkeypatch, capsys, target: str, module: str) -> None:
    monkeypatch.setattr(targets, "installed", lambda name: name != module)
    line = refused(monkeypatch, capsys, "--for", target)
    assert line == (
        f"compile.py: --for is {target}, but its compiler is not installed: no module {module}; "
        "pip install 'jaxbandit[accelerators]'"
    )


def test_a_module_whose_package_is_missing_is_not_installed() -> None:
    assert not targets.installed("no_such_package.at_all")
    assert targets.installed("jax.numpy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--chips", "3"), "--chips is 3, which does not divide the 1024 lanes of case 'linucb concat 64x16'"),
        (("--chips", "8"), "--chips is 8: v5e:2x2 has 4; allowed: 1 to 4"),
        (("--chips", "0"), "--chips is 0: v5e:2x2 has 4; allowed: 1 to 4"),
        (("--case", "linucb 64x16"), "unknown case 'linucb 64x16': did you mean"),
        (("--only", "nothing"), "--only is 'nothing': no case of v5e:2x2 has it in its name"),
    ],
)
def test_chips_that_do_not_divide_the_lanes_and_cases_that_are_not_there_are_refused(
    monkeypatch, capsys, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(targets, "installed", lambda _: True)
    assert refused(monkeypatch, capsys, "--for", "v5e:2x2", *arguments).startswith(f"compile.py: {message}")


def test_every_agent_is_a_case() -> None:
    assert {f"agent {agent}" for agent in AGENTS} < compiler.CASES.keys()


@functools.cache
def program(target: str, case: str, chips: int = 1) -> dict[str, Any]:
    """What the command says of a program; no cycles are asked for, which halves the time."""
    try:
        targets.checked(target)
    except ValueError as error:
        pytest.skip(str(error))
    command = [sys.executable, COMMAND, "--for", target, "--case", case, "--chips", str(chips), "--no-bundles"]
    got = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert got.returncode == 0, got.stderr[-2000:]
    return json.loads(got.stdout.splitlines()[-1])


def needed(line: dict[str, Any]) -> float:
    return line["megabytes"]["temporary"] + line["megabytes"]["arguments"]


def environment() -> dict[str, str]:
    """Without the flags of the tests, which are for quick compilation on a CPU."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}


accelerators = pytest.mark.accelerators
patient = pytest.mark.timeout(900)


@accelerators
@patient
@pytest.mark.parametrize("case", [FLAGSHIP, LANE_EACH, NEURAL, SLATES])
def test_sweeps_compile_for_four_chips_of_a_tpu_which_work_alone(case: str) -> None:
    got = program("v5e:2x2", case, chips=4)
    assert got["collectives_in_loop"] == []
    assert needed(got) < MEGABYTES[case]


@accelerators
@patient
def test_sixteen_seeds_are_shared_by_sixteen_chips() -> None:
    got = program("v5e:4x4", FLAGSHIP, chips=16)
    assert got["rows"] == [16, 64]
    assert got["collectives_in_loop"] == []
    assert needed(got) < MEGABYTES[FLAGSHIP] / 2


@accelerators
@patient
@pytest.mark.parametrize("case", KERNELS)
def test_sweeps_compile_for_an_h100_and_the_host_waits_once_a_round(case: str) -> None:
    got = program("h100", case)
    assert got["host_waits_per_round"] == 1  # it asks whether there is another round
    assert got["kernels_per_round"] <= KERNELS[case]
    assert got["outside_graphs"] <= got["kernels_per_round"]
    assert got["collectives_in_loop"] == []
    assert needed(got) < MEGABYTES[case]
