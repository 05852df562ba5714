"""The policies of finished and interrupted runs: `jaxbandit export`, and what another process does with them."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit
from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.experiments.config import Config, read_config
from jaxbandit.experiments.world import build, traced_settings
from jaxbandit.policies import export, trained
from tests.command_line import ROOT, SMALL, assert_refused, call, hashes, write_ratings
from tests.policies.exports import BATCH, KEY, arrays_of

SERVER = """
import sys
import jaxbandit
assert "jax" not in sys.modules
policy = jaxbandit.load_policy(sys.argv[1])
import numpy as np
fields = dict(np.load(sys.argv[2], allow_pickle=False))
np.save(sys.argv[3], policy.act(policy.context(**fields), seed=5))
assert not {"flax", "optax", "orbax", "polars", "jaxbandit.agents", "jaxbandit.envs"} & set(sys.modules), sys.modules
"""
RATED = ("--env", "mf-per-arm", "--rank-k", "3", "--num-actions", "4", "--batch-size", "8", "--training-loops", "10")
RUNS = {
    "linucb": (*RATED, "--steps-per-loop", "3", "--seeds", "2", "--alpha", "0.3"),
    "lints": (*SMALL, "--delay", "2"),
    "uniform": (*SMALL, "--checkpoint-every", "5"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Directory of the finished run of an agent."""
    root = tmp_path_factory.mktemp("finished")
    ratings = write_ratings(root / "ratings.csv")

    @cache
    def run(agent: str) -> Path:
        rated = ("--ratings", ratings) if agent == "linucb" else ()
        result = call("run", "--agent", agent, *RUNS[agent], *rated, "--out", root / agent)
        assert result.status == 0, result
        return root / agent

    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """Directory of a finished run that a test may change, of an agent that is exported soon."""
    return Path(shutil.copytree(finished("uniform"), tmp_path / "run"))


def own_actions(run: Path, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A context of the world of a run, and what its agent does there at its end."""
    config = read_config(str(run / "config.json"))
    environment, params, *_ = build(Config(**{**vars(config), "delay": 0}))
    context, _ = environment.observe(KEY, params, environment.init(KEY, params), BATCH)
    static = {name: value for name, value in config.agent_settings.items() if name not in traced_settings(config.agent)}
    state = trained.last_state(str(run), config, seed).state

    @jax.jit
    def act(state, context, values):
        agent = AGENTS[config.agent](environment.spec, **static, **values)
        return agent.select(jax.random.key(5), state, context).action

    values = {name: jnp.float32(config.agent_settings[name]) for name in traced_settings(config.agent)}
    fields = context._replace(catalogue=None)._asdict()
    shown = {name: np.asarray(value) for name, value in fields.items() if value is not None}
    return shown, np.asarray(act(state, context, values))


@pytest.mark.parametrize("agent", ["linucb", "lints"])
def test_another_process_acts_as_the_run_did_at_its_end(agent, finished, tmp_path):
    result = call("export", finished(agent), "--policy-seed", "1", "--out", tmp_path / "policy")
    assert result.status == 0, result
    assert f"{agent} of seed 1 after" in result.out
    fields, actions = own_actions(finished(agent), 1)
    np.savez(tmp_path / "context.npz", **fields)
    paths = [str(tmp_path / name) for name in ("policy", "context.npz", "actions.npy")]
    served = subprocess.run(
        [sys.executable, "-c", SERVER, *paths], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert served.returncode == 0, served.stderr
    np.testing.assert_array_equal(np.load(paths[2]), actions)


def test_seeds_of_a_run_are_policies_of_their_own(finished, tmp_path):
    heads = [export.export(str(finished("lints")), str(tmp_path / str(s)), seed=s) for s in (0, 1)]
    assert [head["seed"] for head in heads] == [0, 1]
    moments = [arrays_of(tmp_path / str(s))["state.moment"] for s in (0, 1)]
    assert np.any(moments[0] != moments[1])
    kept = sealed.read(finished("lints") / "config.json", "", always=True)
    assert jaxbandit.load_policy(tmp_path / "0").config == kept


def test_checkpoints_may_lie_elsewhere(run, tmp_path):
    shutil.move(run / "checkpoints", tmp_path / "kept")
    assert_refused(call("export", run), "has no checkpoint")
    content = export.export(str(run), checkpoints=str(tmp_path / "kept"))
    assert content["rounds"] == 300


def test_an_interrupted_run_is_exported_as_it_is(run):
    (run / "summary.json").unlink()
    first, last = sorted((run / "checkpoints").glob("*.sha256"))
    for path in (last, last.with_suffix("")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = call("export", run)
    assert result.status == 0, result
    assert f"after {int(first.stem)} of 300 rounds" in result.out
    assert jaxbandit.load_policy(run / "policy").header["rounds"] == int(first.stem) < 300


def test_a_policy_that_is_there_already_is_left_alone_and_another_is_refused(run):
    assert call("export", run).status == 0
    before, when = hashes(run), (run / "policy/policy.json").stat().st_mtime_ns
    assert call("export", run).status == 0
    assert_refused(
        call("export", run, "--policy-seed", "1"), "holds another policy (seed 0 and 1)", "another directory"
    )
    assert (hashes(run), (run / "policy/policy.json").stat().st_mtime_ns) == (before, when)


@pytest.mark.parametrize("harm", ["policy.json is not there yet", "a program is cut short"])
def test_what_a_killed_export_left_is_written_anew(harm, run):
    assert call("export", run).status == 0
    before = set(hashes(run))
    if harm.startswith("policy.json"):
        (run / "policy/policy.json").unlink()
        (run / "policy/.arrays.npz.0a1b.tmp").write_text("")
    else:
        (run / "policy/program.stablehlo").write_bytes(b"")
    with pytest.raises(InputError):
        jaxbandit.load_policy(run / "policy")
    assert call("export", run).status == 0
    (run / "policy/.arrays.npz.0a1b.tmp").unlink(missing_ok=True)
    assert set(hashes(run)) == before
    jaxbandit.load_policy(run / "policy")


def test_an_export_that_fails_leaves_nothing(finished, tmp_path, monkeypatch):
    def full(path, data):
        assert not (Path(path).parent / "policy.json").exists()  # without it the others are no policy
        if "program" in str(path):
            raise InputError(f"cannot write {str(path)!r}: No space left on device")
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(data)

    monkeypatch.setattr(export, "write_bytes", full)
    assert_refused(call_quietly("export", finished("uniform"), "--out", tmp_path / "policy"), "No space left")
    assert not list(tmp_path.iterdir())


def call_quietly(*args: object):
    """Call the command line, and leave out that it says what it is doing."""
    result = call(*args)
    lines = [line for line in result.err.splitlines(keepends=True) if not line.startswith("exporting")]
    return result._replace(err="".join(lines))


def test_bad_input_is_one_line_and_nothing_is_written(run, tmp_path):
    before = hashes(run)
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("")
    for args, words in {
        (tmp_path / "full",): ("holds no run", "allowed: the --out of a run"),
        (tmp_path / "none",): ("holds no run",),
        (run, "--policy-seed", "2"): ("policy_seed is 2", "allowed: 0 to 1"),
        (run, "--policy-seed", "-1"): ("policy_seed is -1",),
        (run, "--policy-seed", "x"): ("--policy-seed", "'x'"),
        (run, "--out", tmp_path / "file"): ("is", "a file", "allowed: a directory"),
        (run, "--out", tmp_path / "full"): ("holds other files", "a new or empty directory"),
        (run, "--out", run): ("holds other files",),
    }.items():
        assert_refused(call("export", *args), *words)
    assert hashes(run) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "run"]


def test_agents_that_see_mean_rewards_are_refused(tmp_path):
    run = tmp_path / "run"
    assert call("run", "--agent", "oracle", *SMALL, "--out", run).status == 0
    assert_refused(call("export", run), "agent is 'oracle'", "sees mean rewards", "allowed: all others")
    assert not (run / "policy").exists()


def test_a_sweep_is_sent_to_its_best_configuration(tmp_path):
    sealed.write(tmp_path / "config.json", {"base": {}})
    assert_refused(call("export", tmp_path), "a sweep", f"jaxbandit run --config {tmp_path}/best.json")
