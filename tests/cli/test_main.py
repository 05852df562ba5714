"""The command line beside its flags: lists, what it waits for, the directory of a run, its table and its cache."""

import shutil
import subprocess
import sys
import time

import pytest

from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import read_config
from jaxbandit.vertex.machines import MACHINES
from tests.command_line import ROOT, SMALL, assert_refused, call, shell

HEAVY = {"orbax.checkpoint", "matplotlib", "tensorboardX", "google.cloud.storage", "flax", "optax", "chex", "scipy"}


@pytest.mark.parametrize(
    ("what", "names"),
    [("agents", AGENTS), ("envs", ENVIRONMENTS), ("data", ("ml-100k", "synth-100k")), ("machines", MACHINES)],
)
def test_lists_name_everything_at_80_columns(what, names, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    shown = call("list", what)
    lines = shown.out.splitlines()
    assert shown.status == 0
    assert all(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) <= 80 for line in lines)
    for name in names:
        assert any(line.split()[:1] == [name] for line in lines), name


def test_a_data_set_is_described(tmp_path) -> None:
    shown = call("data", "describe", "synth-100k", "--plot", tmp_path / "data.png")
    words = " ".join(shown.out.split())
    assert shown.status == 0
    for text in ("users 943", "items 1,750", "scale 1 to 5", "truth known yes", "user features none"):
        assert text in words
    assert (tmp_path / "data.png").stat().st_size > 10_000


def test_no_command_shows_the_commands() -> None:
    shown = call()
    assert shown.status == 2
    assert "list" in shown.err
    assert call("--help").status == call("--version").status == 0


def test_help_does_not_wait_for_jax() -> None:
    code = "import sys\nfrom jaxbandit.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'jax', 'numpy', 'polars', 'rich'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_bad_input_does_not_wait_for_what_only_results_need() -> None:
    code = "import sys\nfrom jaxbandit.cli.main import main\ntry: main(['run', '--alpha', 'x'])\nexcept SystemExit: "
    code += "pass\n"
    code += "assert 'jax' in sys.modules and not {'orbax', 'matplotlib', 'flax', 'optax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def test_the_first_chunk_does_not_wait_for_what_it_does_not_need(tmp_path) -> None:
    code = "import sys\nfrom jaxbandit.cli.main import main\nfrom jaxbandit.experiments.run import Follower\n"
    code += "def follow(self, work, state):\n    original(self, work, state)\n"
    code += f"    print(sorted({HEAVY} & set(sys.modules)))\n    sys.exit()\n"
    code += "original, Follower.follow = Follower.follow, follow\nmain(sys.argv[1:])"
    flags = ("run", "--env", "wheel", "--batch-size", "2", "--training-loops", "1", "--seeds", "1", "--out", "run")
    told = subprocess.run(
        [sys.executable, "-c", code, *flags], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert told.stdout == "[]\n"


def test_a_shell_sees_one_line_and_status_2(tmp_path) -> None:
    began = time.perf_counter()
    assert_refused(shell("run", "--agent", "linucbb", cwd=tmp_path), "unknown agent 'linucbb': did you mean 'linucb'?")
    assert time.perf_counter() - began < 30  # about one second where nothing else runs
    assert not list(tmp_path.iterdir())


def test_a_run_without_out_makes_a_directory_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("run", *SMALL)
    (out,) = (tmp_path / "runs").iterdir()
    assert out.name.startswith("linucb-wheel-")
    assert f"results in runs/{out.name}" in result.out
    assert read_config(str(out / "config.json")).env == "wheel"


def test_a_config_repeats_its_run(finished, tmp_path) -> None:
    assert call("run", "--config", finished / "config.json", "--out", tmp_path / "again").status == 0
    assert (tmp_path / "again/config.json").read_bytes() == (finished / "config.json").read_bytes()
    assert (tmp_path / "again/metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()


def test_the_table_stands_beside_uniform_and_optimal(finished) -> None:
    shown = call("run", "--resume", "--out", finished)
    rows = [line.split()[0] for line in shown.out.splitlines() if line.strip()]
    assert {"linucb", "uniform", "optimal"} <= set(rows)
    assert f"results in {finished}" in shown.out
    assert not shown.err


@pytest.mark.parametrize("harm", ["a file where the directory should be", "programs cut short"])
@pytest.mark.slow
def test_a_cache_of_programs_that_fails_costs_time_and_nothing_else(harm, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    again = ("run", "--config", finished / "config.json", "--out")
    assert shell(*again, tmp_path / "first").status == 0
    directory = tmp_path / "cache" / "programs"
    programs = [path for path in directory.rglob("*") if path.is_file()]
    assert programs
    if harm.startswith("a file"):
        shutil.rmtree(directory)
        directory.write_text("")
    else:
        for path in programs:
            path.write_bytes(path.read_bytes()[:100])
    result = shell(*again, tmp_path / "run")
    assert result.status == 0, result
    assert all(line.startswith(("building", "compiling", "simulating")) for line in result.err.splitlines()), result.err
    assert (tmp_path / "run/metrics.csv").read_bytes() == (tmp_path / "first/metrics.csv").read_bytes()
