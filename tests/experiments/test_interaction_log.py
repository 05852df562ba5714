"""The log of a run: what is in it, how likely each action was, and that no interruption leaves a trace in it."""

import json
import shutil
import threading
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError
from jaxbandit._core.signals import Interrupted
from jaxbandit.agents import AGENTS
from jaxbandit.experiments import interaction_log, log_reader, run, runner
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build
from jaxbandit.policies import evaluate
from jaxbandit.simulation import recording
from jaxbandit.simulation import rounds as simulate
from jaxbandit.types import Interaction
from tests.command_line import assert_refused, call, write_ratings
from tests.support import assert_counts, bounded, make_agent, masked, small_world

BATCH, DRAWS = 4, 3000
ROOT = jax.random.key(3)
PER_ARM = Config(env="linear-per-arm", agent="greedy", batch_size=8, training_loops=6, steps_per_loop=10, seeds=3)
LINEAR_TS = Config(env="linear", agent="lints", batch_size=8, training_loops=1, steps_per_loop=6, seeds=2)


def read(out: Path) -> pl.DataFrame:
    files = sorted((out / "interactions").glob("*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in files]).sort("seed", "round", maintain_order=True)


@cache
def world(env: str):
    """A world under masks; what has fixed arms pays 0 or 1, as some agents need it there."""
    environment, params = small_world(env)
    environment = environment if environment.spec.arm_dim else bounded(environment)
    return masked(environment), params


def learned(agent: str, env: str, rounds: int = 1):
    """An agent that has learnt from a few batches in a world under masks, and what it sees next."""
    environment, params = world(env)
    policy = make_agent(agent, environment)()

    @jax.jit
    def learn():
        lane = simulate.Lane(environment, params, policy, BATCH)
        carry, step = simulate.start(ROOT, lane), partial(simulate.one_round, ROOT, lane)
        carry = jax.lax.fori_loop(0, rounds, lambda round, carry: step(carry, round)[0], carry)
        context, means = environment.observe(jax.random.key(9), params, carry.environment, BATCH)
        return carry.agent, context._replace(truth=means) if policy.privileged else context

    return policy, *learn()


def tells(agent: str, env: str) -> bool:
    try:
        return make_agent(agent, world(env)[0])().probabilities is not None
    except InputError:
        return False


def draws_of(policy, state, context) -> np.ndarray:
    """Arms taken by each user again and again."""
    keys = jax.random.split(ROOT, DRAWS)
    return np.asarray(jax.jit(jax.vmap(lambda key: policy.select(key, state, context).action))(keys))


CASES = [(agent, env) for env in ("linear-per-arm", "linear") for agent in AGENTS if tells(agent, env)]


@pytest.mark.parametrize(("agent", "env"), CASES)
def test_an_agent_takes_arms_with_the_probabilities_that_it_tells(agent, env):
    policy, state, context = learned(agent, env, rounds=100)
    told = np.asarray(jax.jit(policy.probabilities)(state, context), np.float64)
    assert told.shape == context.mask.shape
    np.testing.assert_allclose(told.sum(axis=1), 1, rtol=1e-5)
    assert not told[~np.asarray(context.mask)].any()
    drawn = draws_of(policy, state, context)
    for user in range(BATCH):
        assert_counts(np.bincount(drawn[:, user], minlength=told.shape[1]), told[user])


def test_propensities_of_an_agent_that_tells_none_are_estimated_with_its_own_frequencies():
    policy, state, context = learned("lints", "linear")
    assert policy.probabilities is None
    drawn = draws_of(policy, state, context)
    estimate = jax.jit(lambda action: recording.propensity(jax.random.key(1), policy, state, context, action, 400))
    share = np.mean(drawn == drawn[0], axis=0)
    assert share.max() > 1.5 * share.min()  # or any number would do
    error = np.sqrt(share * (1 - share) * (1 / 400 + 1 / DRAWS)) + 1 / 400
    assert np.all(np.abs(estimate(jnp.asarray(drawn[0])) - share) < 4 * error)
    np.testing.assert_allclose(estimate(jnp.full(BATCH, -1, jnp.int32)), 1 / 401)


@pytest.fixture(scope="session")
def per_arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in several chunks of a world without ids."""
    out = tmp_path_factory.mktemp("log") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "CHUNK_BYTES", 13 * 3 * 8 * 4 * (4 + 1 + 7 * 5 + 4))
        run.run(PER_ARM, str(out), log_interactions=True)
    return out


def test_a_log_is_cut_into_files_of_equal_rounds_and_holds_every_interaction_once(per_arm):
    names = [path.name for path in sorted((per_arm / "interactions").glob("*.parquet"))]
    edges = [0, 13, 26, 39, 52, 60]
    assert names == [f"{a:010d}-{b:010d}-tile0.parquet" for a, b in pairwise(edges)]
    counts = read(per_arm).group_by("seed", "round").len()
    assert len(counts) == 3 * 60
    assert counts["len"].unique().to_list() == [8]


def test_a_log_holds_what_the_agent_met_and_logging_changes_nothing(per_arm):
    frame, batch, arms = read(per_arm).filter(seed=2), PER_ARM.batch_size, 7
    world = build(checked(PER_ARM))
    environment, params = world.environment, world.params
    agent = world.factory(**{name: float(values[0]) for name, values in world.grid.items()})
    key = jax.random.fold_in(jax.random.key(PER_ARM.seed), 2)
    lane = simulate.Lane(environment, params, agent, batch)

    @jax.jit
    def play():
        def step(carry, round):
            keys = prng.split(prng.fold_in(key, round), 4)
            context, means = environment.observe(keys[0], params, carry.environment, batch)
            action = agent.select(keys[1], carry.agent, context).action
            chance = agent.probabilities(carry.agent, context)[jnp.arange(batch), action]
            _, outcome = environment.respond(keys[2], params, carry.environment, context, means, action)
            after, _ = simulate.one_round(key, lane, carry, round)
            return after, (context, action, chance, outcome.reward)

        return jax.lax.scan(step, simulate.start(key, lane), jnp.arange(60))[1]

    context, action, chance, reward = play()
    np.testing.assert_array_equal(frame["user"].to_numpy(), context.user.reshape(60 * batch, -1))
    np.testing.assert_array_equal(frame["arm_features"].to_numpy(), context.arms.reshape(60 * batch, arms * 5))
    np.testing.assert_array_equal(frame["action"].to_numpy(), action.ravel())
    np.testing.assert_allclose(frame["reward"].to_numpy(), reward.ravel(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(frame["propensity"].to_numpy(), chance.ravel(), rtol=1e-5)
    assert frame["propensity_exact"].all()


def test_the_learning_curve_is_that_of_the_log(per_arm):
    curve = pl.read_csv(per_arm / "metrics.csv")
    spans = np.diff(curve["round"].to_numpy(), prepend=0)
    assert read(per_arm)["reward"].mean() == pytest.approx(
        curve["average_return_mean"].to_numpy() @ spans / 60, rel=1e-4
    )


def test_a_log_that_was_interrupted_is_the_same_as_one_that_was_not(per_arm, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "CHUNK_BYTES", 13 * 3 * 8 * 4 * (4 + 1 + 7 * 5 + 4))
    out, stop, write = tmp_path / "run", threading.Event(), interaction_log.Log.write

    @contextmanager
    def requests():
        yield stop

    def write_and_stop(self, *arguments) -> None:
        write(self, *arguments)
        stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(runner, "stop_requests", requests)
        patch.setattr(interaction_log.Log, "write", write_and_stop)
        with pytest.raises(Interrupted):
            run.run(PER_ARM, str(out), log_interactions=True)
    assert len(list((out / "interactions").glob("*.parquet"))) == 1
    # What a process wrote after its last checkpoint, before it was killed:
    first = next((out / "interactions").glob("*.parquet"))
    (out / "interactions" / "0000000013-0000000020-tile0.parquet").write_bytes(first.read_bytes())
    assert call("run", "--resume", "--out", out).status == 0
    for path in (per_arm / "interactions").iterdir():
        assert (out / "interactions" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list((out / "interactions").iterdir())) == len(list((per_arm / "interactions").iterdir()))


def test_thompson_sampling_is_logged_with_estimated_propensities(tmp_path):
    run.run(LINEAR_TS, str(tmp_path / "run"), log_interactions=True, propensity_samples=20)
    frame = read(tmp_path / "run")
    assert not frame["propensity_exact"].any()
    steps = frame["propensity"].to_numpy() * 21
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert frame["propensity"].min() >= 1 / 21
    # In the first round the arms are alike: each has one chance in five.
    first = frame.filter(pl.col("round") == 0)["propensity"].to_numpy()
    assert abs(first.mean() - (0.2 + 0.8 / 21)) < 4 * 0.09 / np.sqrt(len(first))


def test_ucb_is_certain_but_where_arms_tie():
    policy, state, context = learned("linucb", "linear-per-arm")
    assert np.all(np.isin(policy.probabilities(state, context), [0, 1]))
    policy, state, context = learned("linucb", "linear")
    fresh = np.asarray(policy.probabilities(policy.init(ROOT), context))
    mask = np.asarray(context.mask)
    np.testing.assert_allclose(fresh, mask / mask.sum(axis=1, keepdims=True))


def test_arms_from_a_catalogue_are_logged_by_their_ids(tmp_path):
    ratings = write_ratings(tmp_path / "ratings.csv")
    flags = ("--ratings", ratings, "--num-actions", 4, "--rank-k", 2, "--factorizer", "residual_svd")
    world = ("--agent", "uniform", "--batch-size", 8, "--training-loops", 1, "--steps-per-loop", 5, "--seeds", 1)
    assert call("run", *flags, *world, "--log-interactions", "--out", tmp_path / "run").status == 0
    frame, items = read(tmp_path / "run"), np.load(tmp_path / "run" / "interactions" / "catalogue.npy")
    arms = frame["arms"].to_numpy()
    assert arms.shape == (40, 4)
    assert arms.min() >= 0
    assert arms.max() < len(items)
    assert all(len(set(row)) == 4 for row in arms.tolist())
    np.testing.assert_allclose(frame["propensity"].to_numpy(), 0.25)
    (rows,) = log_reader.open_log(interaction_log.epath.Path(tmp_path / "run")).rows()
    np.testing.assert_array_equal(rows.offered(np.arange(3)), items[arms[:3]])
    np.testing.assert_array_equal(rows.taken(), items[arms[np.arange(40), frame["action"].to_numpy()]])
    content = evaluate.evaluate(str(tmp_path / "run"), Config(agent="greedy"))  # untrained, so all arms tie
    assert content["estimates"]["ips"]["value"] == pytest.approx(content["estimates"]["logged"]["value"], rel=1e-5)
    path, out = tmp_path / "run" / "interactions" / "catalogue.npy", interaction_log.epath.Path(tmp_path / "run")
    for damaged in (path.read_bytes()[:-4], b"", b"no array"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"catalogue.npy' is damaged or was changed: .*; allowed: "):
            log_reader.open_log(out)
    header = path.with_name("log.json")
    content = json.loads(header.read_text())
    del content["sha256"], content["files"]  # as an older jaxbandit wrote it
    header.write_text(json.dumps(content))
    np.save(path, items[:, 1:])
    with pytest.raises(InputError, match="cannot be read: float32 of shape"):
        log_reader.open_log(out)
    path.unlink()
    with pytest.raises(InputError, match="the log lacks catalogue"):
        list(log_reader.open_log(out).rows())


def test_masks_are_logged_and_rewards_that_have_not_come_are_not():
    environment, params = small_world("linear-per-arm")
    environment = masked(environment)
    agent = make_agent("uniform", environment)()
    shown = recording.example(environment, params, BATCH)
    kept = recording.recorded(agent, shown, 2, 0)
    state = kept.init(ROOT)
    for round in range(3):
        context, _ = environment.observe(jax.random.key(round), params, environment.init(ROOT, params), BATCH)
        decision = kept.select(ROOT, state, context)
        weight = jnp.array([1.0, 0.0, 1.0, 1.0])
        seen = Interaction(context, decision.action, jnp.ones(BATCH), weight, jnp.int32(round), decision.memory)
        state = kept.update(ROOT, state, seen)
    rows = jax.tree.map(lambda x: np.asarray(x)[None, [1, 0]], state.rounds)  # rounds 1 and 2
    header = interaction_log.Header(
        3, 2, BATCH, 1, **interaction_log.sizes(environment.spec), propensity_exact=True, propensity_samples=0
    )
    frame = interaction_log._frame(rows, np.array([0]), np.array([1, 2]), header)
    assert frame["round"].to_list() == [1, 1, 1, 2, 2, 2]
    mask = frame["mask"].to_numpy().astype(bool)
    np.testing.assert_array_equal(mask[3:], np.asarray(context.mask)[[0, 2, 3]])
    np.testing.assert_allclose(frame["propensity"].to_numpy(), 1 / mask.sum(axis=1), rtol=1e-6)


def test_bad_input_is_refused(per_arm, tmp_path):
    small = ("--env", "wheel", "--batch-size", 8, "--training-loops", 2, "--steps-per-loop", 2, "--seeds", 1)
    assert_refused(call("run", *small, "--propensity-samples", 9, "--out", tmp_path / "x"), "log_interactions")
    assert_refused(
        call("run", *small, "--log-interactions", "--propensity-samples", 0), "propensity_samples is", ">= 1"
    )
    assert_refused(call("run", "--resume", "--propensity-samples", 9, "--out", per_arm), "propensity_samples", "100")
    assert call("run", *small, "--out", tmp_path / "plain").status == 0
    assert_refused(call("run", "--resume", "--log-interactions", "--out", tmp_path / "plain"), "begun without it")
    assert_refused(call("sweep", "--log-interactions"), "unknown flag")


def test_a_log_with_missing_rounds_or_a_damaged_file_is_refused(per_arm, tmp_path):
    place = tmp_path / "interactions"
    place.mkdir()
    for path in (per_arm / "interactions").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    _, second, *_ = sorted(place.glob("*.parquet"))
    second.write_bytes(second.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged or was changed"):
        list(log_reader.open_log(interaction_log.epath.Path(tmp_path)).frames())
    content = json.loads((place / "log.json").read_text())
    del content["sha256"], content["files"]  # as an older jaxbandit wrote it
    (place / "log.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="cannot be read"):
        list(log_reader.open_log(interaction_log.epath.Path(tmp_path)).frames())
    second.unlink()
    with pytest.raises(InputError, match="begins at round 26, but the one before it ends at 13"):
        log_reader.open_log(interaction_log.epath.Path(tmp_path))
    for path in place.glob("*.parquet"):
        path.unlink()
    with pytest.raises(InputError, match="no round is finished"):
        log_reader.open_log(interaction_log.epath.Path(tmp_path))


def test_a_run_killed_before_its_log_was_begun_is_logged_when_it_is_resumed(tmp_path, monkeypatch):
    small = ("--env", "wheel", "--batch-size", 8, "--training-loops", 2, "--steps-per-loop", 2, "--seeds", 1)

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jaxbandit.experiments.run_directory._clear", lambda *args, **options: None)  # as SIGKILL does
        patch.setattr(interaction_log.Log, "begin", die)
        call("run", *small, "--log-interactions", "--propensity-samples", 7, "--out", tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    assert call("run", "--resume", "--out", tmp_path / "run").status == 0
    assert read(tmp_path / "run").height == 32
    header = json.loads((tmp_path / "run/interactions/log.json").read_text())
    assert header["propensity_samples"] == 7


def test_a_log_whose_header_is_gone_is_not_begun_anew_in_the_middle(per_arm, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "CHUNK_BYTES", 13 * 3 * 8 * 4 * (4 + 1 + 7 * 5 + 4))
    run = tmp_path / "run"
    shutil.copytree(per_arm, run)
    (run / "summary.json").unlink()
    (run / "interactions" / "log.json").unlink()
    assert_refused(call("run", "--resume", "--out", run), "log.json", "is missing", "allowed: a new run")
