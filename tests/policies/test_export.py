"""A trained agent leaves its process: what acts elsewhere acts as it did, and what is no policy is refused."""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax.export import deserialize

import jaxbandit
from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.experiments.config import Config, read_config
from jaxbandit.experiments.world import build, traced_settings
from jaxbandit.policies import export, stablehlo, trained
from jaxbandit.simulation.lanes import Simulation
from jaxbandit.types import Context, Interaction
from tests.command_line import ROOT, SMALL, assert_refused, call, hashes, write_ratings
from tests.support import defaults, home, keys, make_agent, masked, small_world, world

BATCH = 8
KEY = jax.random.key(3)
MOST_CONSTANT = 64  # numbers in a constant: tables of indices are small, what was learned is not
HEAD = {"config": {"agent": "made here"}, "seed": 0, "rounds": 1}
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


def pairs() -> list[tuple[str, str]]:
    """Every agent in the world where it is at home, and worlds with contexts of other kinds."""
    first = [(agent, home(agent)) for agent in AGENTS]
    return [*first, ("linucb", "mf"), ("lints", "linear-per-arm"), ("uniform", "cascade")]


@cache
def contexts_of(env: str) -> list[Context]:
    """Two contexts of a world, under masks."""
    environment, params = small_world(env)
    environment = masked(environment)
    observe = jax.jit(lambda key, params: environment.observe(key, params, environment.init(key, params), BATCH)[0])
    return [observe(key, params) for key in keys(2)]


@cache
def taught(agent: str, env: str):
    """A world of an agent, what it has learned from a batch, the context of the next one, and how it acts there.

    Then how likely it takes each arm, where it tells.
    """
    environment, params = world(agent, env)
    factory, values = make_agent(agent, environment), defaults(agent)

    @jax.jit
    def select(values, state, key, context):
        policy = factory(**values)
        return policy.select(key, state, context), policy.probabilities and policy.probabilities(state, context)

    first, second = contexts_of(env)
    state = jax.jit(lambda values: factory(**values).init(KEY))(values)
    decision, _ = select(values, state, KEY, first)
    reward = jax.random.uniform(KEY, decision.action.shape)
    seen = Interaction(first, decision.action, reward, jnp.ones(BATCH), jnp.int32(0), decision.memory)
    state = jax.jit(lambda values, state, seen: factory(**values).update(KEY, state, seen))(values, state, seen)
    decision, told = select(values, state, jax.random.key(5), second)
    grid = {name: np.array([value]) for name, value in values.items()}
    return Simulation(environment, params, factory, grid, BATCH), state, second, decision.action, told


@cache
def packed(agent: str, env: str):
    made, state, *_ = taught(agent, env)
    return export.pack(made, state, HEAD)


def exported(agent: str, env: str, directory: Path) -> jaxbandit.Policy:
    export.write(epath.Path(directory), *packed(agent, env))
    return jaxbandit.load_policy(directory)


def acts(agent: str, env: str) -> bool:
    """Whether it is a policy, and no bound that sees mean rewards."""
    return not make_agent(agent, world(agent, env)[0])(**defaults(agent)).privileged


each_pair = pytest.mark.parametrize(("agent", "env"), [pair for pair in pairs() if acts(*pair)])


@pytest.mark.parametrize("agent", ["squarecb", "exp3", "uniform"])
def test_without_a_mask_all_arms_may_be_taken(agent, tmp_path):
    made, state, context, *_ = taught(agent, "mf")
    context = context._replace(mask=None)
    policy = make_agent(agent, made.environment)(**defaults(agent))
    actions = jax.jit(lambda state, context: policy.select(jax.random.key(5), state, context).action)(state, context)
    np.testing.assert_array_equal(exported(agent, "mf", tmp_path).act(context, seed=5), actions)


@each_pair
def test_an_exported_agent_acts_as_it_would_have(agent, env, tmp_path):
    made, _, context, actions, told = taught(agent, env)
    policy = exported(agent, env, tmp_path)
    np.testing.assert_array_equal(policy.act(context, seed=5), actions)
    assert policy.spec == made.environment.spec
    if told is None:
        with pytest.raises(InputError, match="tells no probabilities"):
            policy.probabilities(context)
    else:
        np.testing.assert_allclose(policy.probabilities(context), told, atol=1e-6)
    for path in tmp_path.glob("*.stablehlo"):
        check_program(path)


def arrays_of(directory: Path) -> dict[str, np.ndarray]:
    with np.load(directory / "arrays.npz", allow_pickle=False) as archive:
        return dict(archive)


def check_program(path: Path) -> None:
    content = path.read_bytes()
    program = deserialize(bytearray(content))
    assert program.platforms == ("cpu", "cuda", "tpu")
    text = program.mlir_module()
    tables = re.findall(r"stablehlo.constant dense<(?:\[|\")[^>]*> : tensor<((?:\d+x)+)", text)  # not one number alone
    assert all(np.prod([int(size) for size in table.split("x")[:-1]]) <= MOST_CONSTANT for table in tables), tables
    assert "dense_resource" not in text
    assert str(ROOT).encode() not in content


def test_what_is_learned_but_not_acted_by_stays_behind(tmp_path):
    _, state, *_ = taught("neural-epsilon-greedy", "mf-per-arm")
    exported("neural-epsilon-greedy", "mf-per-arm", tmp_path)
    kept = arrays_of(tmp_path)
    held = stablehlo.named({"state": state})
    assert any("learned.params" in name for name in kept)
    assert not any("optimizer" in name or "opt_state" in name for name in kept)
    assert len([name for name in kept if name.startswith("state")]) < len(held)


@pytest.mark.parametrize(("agent", "env"), [("linucb", "mf-per-arm"), ("neural-ucb", "mf-per-arm")])
def test_any_number_of_users_is_served(agent, env, tmp_path):
    policy = exported(agent, env, tmp_path)
    some = [context._replace(catalogue=None) for context in contexts_of(env)]
    many = jax.tree.map(lambda *parts: np.concatenate(parts), *some)
    actions = policy.act(many)
    for first, stop in ((0, 0), (0, 1), (3, 6), (8, 16), (1, 16)):
        found = policy.act(jax.tree.map(lambda x, rows=slice(first, stop): x[rows], many))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, actions[first:stop])


def test_users_beyond_the_most_of_a_call_are_served_in_parts_that_draw_on_their_own(tmp_path):
    policy = exported("uniform", "mf", tmp_path)
    most = policy.header["programs"]["program.stablehlo"]["users"]["most"]
    actions = policy.act(policy.context(np.zeros((most + 100, policy.spec.user_dim))))
    assert actions.shape == (most + 100,)
    assert np.any(actions[:100] != actions[most:])


def test_random_choices_follow_the_seed(tmp_path):
    policy = exported("lints", "linear-per-arm", tmp_path)
    context = policy.context(np.zeros((64, 5)), arms=np.ones((64, policy.spec.num_actions, 5)))
    np.testing.assert_array_equal(policy.act(context), policy.act(context, seed=0))
    assert np.any(policy.act(context) != policy.act(context, seed=1))
    for seed in (-1, 2**32, True):
        with pytest.raises(InputError, match="seed is"):
            policy.act(context, seed=seed)


def test_the_program_runs_as_policy_json_says(tmp_path):
    _, _, context, actions, _ = taught("linucb", "mf-per-arm")
    exported("linucb", "mf-per-arm", tmp_path)
    about = json.loads((tmp_path / "policy.json").read_text())["programs"]["program.stablehlo"]
    kept = arrays_of(tmp_path)
    program = deserialize(bytearray((tmp_path / "program.stablehlo").read_bytes()))
    arrays = {item["name"]: kept[item["name"]] for item in about["inputs"]["arrays"]}
    shown = {item["name"]: getattr(context, item["name"]) for item in about["inputs"]["context"]}
    for item in about["inputs"]["arrays"]:
        assert (list(arrays[item["name"]].shape), str(arrays[item["name"]].dtype)) == (item["shape"], item["dtype"])
    np.testing.assert_array_equal(program.call(arrays, np.array([0, 5], np.uint32), shown), actions)
    assert set(shown) == {"user", "arm_id", "mask"}


# From here on: runs of the command line.

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
    assert jaxbandit.load_policy(tmp_path / "0").config == json.loads((finished("lints") / "config.json").read_text())


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
    (tmp_path / "config.json").write_text(json.dumps({"base": {}}))
    assert_refused(call("export", tmp_path), "a sweep", f"jaxbandit run --config {tmp_path}/best.json")


def test_what_is_no_policy_is_refused(tmp_path):
    policy = tmp_path / "policy"
    exported("uniform", "mf", policy)
    with pytest.raises(InputError, match=f"holds none: did you mean '{policy}'"):
        jaxbandit.load_policy(tmp_path)
    with pytest.raises(InputError, match="holds none: allowed: the --out of an export"):
        jaxbandit.load_policy(tmp_path / "nowhere")
    header = (policy / "policy.json").read_text()
    for content, words in {
        header.replace('"format": 1', '"format": 2'): "has format 2; allowed: 1",
        header[: len(header) // 2]: "is damaged",
        "[]": "is damaged",
    }.items():
        (policy / "policy.json").write_text(content)
        with pytest.raises(InputError, match=words):
            jaxbandit.load_policy(policy)
    (policy / "policy.json").write_text(header)
    for name in ("arrays.npz", "program.stablehlo"):
        content = (policy / name).read_bytes()
        (policy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match=f"is damaged \\({name} is not what was exported\\)"):
            jaxbandit.load_policy(policy)
        (policy / name).write_bytes(content)
    jaxbandit.load_policy(policy)


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory) -> jaxbandit.Policy:
    """Five of forty items for users of five features."""
    return exported("linucb", "mf-per-arm", tmp_path_factory.mktemp("policy"))


ARMS = [[0, 1, 2, 3, 39], [4, 4, 4, 4, 4]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user": None}, ("user is missing", "numbers of shape (B, 5)")),
        ({"user": [1.0] * 5}, ("user has shape (5,)", "(B, 5)")),
        ({"user": [[1.0] * 4] * 2}, ("user has shape (2, 4)",)),
        ({"user": [[1.0], [1.0, 2.0]]}, ("user is no array",)),
        ({"user": [["a"] * 5] * 2}, ("user has type <U1", "allowed: numbers")),
        ({"user": [[float("nan")] * 5] * 2}, ("user has nan", "finite")),
        ({"arm_id": None}, ("arm_id is missing", "whole numbers of shape (2, 5)")),
        ({"arm_id": ARMS[:1]}, ("arm_id has shape (1, 5)", "(2, 5)")),
        ({"arm_id": [[0.5] * 5] * 2}, ("arm_id has type float64", "whole numbers")),
        ({"arm_id": [[40] * 5] * 2}, ("arm_id has 40", "allowed: 0 to 39")),
        ({"arm_id": [[-1] * 5] * 2}, ("arm_id has numbers out of range",)),
        ({"arms": np.zeros((2, 5, 5))}, ("arms is given, but this policy takes arm_id",)),
        ({"mask": [[1, 1, 1, 1, 0]] * 2}, ("mask has type int64", "true and false of shape (2, 5)")),
        ({"mask": [[True] * 5, [False] * 5]}, ("mask allows 0 arms in row 1", "at least 1")),
        ({"user_id": [1, 2, 3]}, ("user_id has shape (3,)", "whole numbers of shape (2,)")),
    ],
)
def test_a_context_that_does_not_fit_is_refused(fields, words, catalogued):
    fits = {"user": np.ones((2, 5)), "arm_id": ARMS}
    assert catalogued.act(catalogued.context(**fits)).shape == (2,)
    with pytest.raises(InputError) as refusal:
        catalogued.context(**fits | fields)
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)
    unchecked = Context(**{"user_id": None, **fits, **fields})
    with pytest.raises(InputError, match=re.escape(str(refusal.value))):
        catalogued.act(unchecked)


def test_masked_arms_are_never_taken(catalogued):
    mask = np.random.default_rng(0).random((500, 5)) < 0.3
    mask[np.arange(500), np.arange(500) % 5] = True
    user, arm_id = np.random.default_rng(1).normal(size=(500, 5)), np.tile(ARMS[0], (500, 1))
    actions = catalogued.act(catalogued.context(user, arm_id=arm_id, mask=mask))
    assert np.all(mask[np.arange(500), actions])
