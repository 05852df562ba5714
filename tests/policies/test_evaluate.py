"""Off-policy estimates of logged runs: against the simulator's true value, and from the command line."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.experiments import log_reader
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.run import run
from jaxbandit.experiments.world import build
from jaxbandit.policies import estimators, evaluate, log_sums
from jaxbandit.policies import trained as policies
from jaxbandit.simulation import rounds
from jaxbandit.types import Context
from tests.command_line import assert_refused, call, reseal

LINEAR = Config(env="linear", agent="uniform", batch_size=32, training_loops=10, steps_per_loop=20, seeds=3,
                env_settings={"normalized": True, "sigma": 1.0, "context_dim": 4})  # fmt: skip
PER_ARM = Config(env="linear-per-arm", agent="uniform", batch_size=32, training_loops=10, steps_per_loop=20, seeds=1)
SOFTMAX = {"agent": "neural-boltzmann", "agent_settings": {"temperature": 0.5, "user_layers": (8,), "arm_layers": (8,)}}


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs with a log: uniform with fixed arms and per arm, and one that has no choice."""
    place = tmp_path_factory.mktemp("logs")
    configs = {"linear": LINEAR, "linear-per-arm": PER_ARM, "ucb": Config(**{**vars(PER_ARM), "agent": "linucb"})}
    for name, config in configs.items():
        run(config, str(place / name), log_interactions=True)
    return {name: place / name for name in configs}


def true_value(config: Config, policy: policies.Policy, only: int | None = None, contexts: int = 100_000) -> float:
    """Mean over users of sum_a pi(a|x) E[r|x, a], and over the worlds of all seeds, or of one of them."""
    world = build(checked(config))
    agent = world.factory(**{name: values[0] for name, values in world.grid.items()})
    found = []
    for seed in range(config.seeds) if only is None else [only]:
        key = jax.random.fold_in(jax.random.key(config.seed), seed)
        state = rounds.start(key, rounds.Lane(world.environment, world.params, agent, 1)).environment
        context, means = world.environment.observe(jax.random.key(77), world.params, state, contexts)
        found.append(float(jnp.mean(jnp.sum(policy(context) * means, axis=1))))
    return float(np.mean(found))


def estimates_of(content: dict) -> dict[str, dict[str, float]]:
    return {name: content["estimates"][name] for name in estimators.ESTIMATORS}


@pytest.mark.parametrize("config", [LINEAR, PER_ARM], ids=["fixed arms", "arms with features"])
def test_all_estimates_of_a_softmax_policy_are_near_its_true_value(config, logs, tmp_path):
    target = checked(Config(**{**vars(config), **SOFTMAX}))
    content = evaluate.evaluate(str(logs[config.env]), target, out=str(tmp_path / "evaluation.json"))
    world = build(checked(config))
    truth = true_value(config, policies.make_policy(target, world.environment.spec))
    uniform = content["estimates"]["logged"]
    assert abs(truth - uniform["value"]) > 6 * uniform["stderr"]  # else the mean logged reward would do
    for name, estimate in estimates_of(content).items():
        assert abs(estimate["value"] - truth) < 3 * estimate["stderr"], (name, estimate, truth)
    assert content["estimates"]["dr"]["stderr"] < content["estimates"]["ips"]["stderr"]
    assert not content["warnings"]


def test_a_policy_that_another_run_has_learnt_is_worth_what_it_earns(logs, tmp_path):
    trained = Config(**{**vars(LINEAR), "agent": "linucb", "training_loops": 3})
    run(trained, str(tmp_path / "run"))
    shown = call("evaluate", logs["linear"], "--policy-from", tmp_path / "run", "--policy-seed", 1)
    assert shown.status == 0, shown
    content = json.loads((logs["linear"] / "evaluation.json").read_text())
    assert (content["agent"], content["policy_seed"]) == ("linucb", 1)
    state = policies.last_state(str(tmp_path / "run"), checked(trained), 1).state
    world = build(checked(LINEAR))
    truth = true_value(LINEAR, policies.make_policy(checked(trained), world.environment.spec, state))
    for name, estimate in estimates_of(content).items():
        assert abs(estimate["value"] - truth) < 3 * estimate["stderr"], (name, estimate, truth)
    fresh = true_value(LINEAR, policies.make_policy(checked(trained), world.environment.spec))
    assert truth > fresh + 6 * content["estimates"]["dr"]["stderr"]
    assert SAME_DATA in shown.out
    assert "too high; allowed: a run with another --seed" in " ".join(shown.out.split())
    of_another_seed(tmp_path / "run")
    apart = call("evaluate", logs["linear"], "--policy-from", tmp_path / "run", "--policy-seed", 1)
    assert apart.status == 0, apart
    assert SAME_DATA not in apart.out


SAME_DATA = "warning: the policy learned from the interactions it is judged on"


def of_another_seed(run: Path) -> None:
    """Let a run say that its root seed was another one."""
    reseal(run / "config.json", seed=7)


def test_a_policy_is_judged_in_the_hidden_world_that_it_has_learnt(logs, tmp_path):
    logged = Config(**{**vars(PER_ARM), "agent": "greedy", "agent_settings": {"epsilon": 0.5}, "seeds": 2})
    trained = Config(**{**vars(PER_ARM), "agent": "linucb", "seeds": 3, "training_loops": 5})
    run(logged, str(tmp_path / "log"), log_interactions=True)
    run(trained, str(tmp_path / "run"))
    asked = ("evaluate", tmp_path / "log", "--policy-from", tmp_path / "run", "--policy-seed")
    shown = call(*asked, 1)
    assert shown.status == 0, shown
    assert "seed 1 of the log alone: each seed has a world of its own" in shown.out
    assert SAME_DATA in shown.out
    assert "estimates are optimistic" in " ".join(shown.out.split())
    content = json.loads((tmp_path / "log" / "evaluation.json").read_text())
    assert (content["only_seed"], content["seeds"], content["interactions"]) == (1, 1, logged.rounds * 32)
    spec = build(checked(logged)).environment.spec
    state = policies.last_state(str(tmp_path / "run"), checked(trained), 1).state
    truth = true_value(PER_ARM, policies.make_policy(checked(trained), spec, state), only=1)
    uniform = true_value(PER_ARM, policies.make_policy(checked(PER_ARM), spec), only=1)
    for name, estimate in estimates_of(content).items():
        assert abs(estimate["value"] - truth) < 3 * estimate["stderr"], (name, estimate, truth)
        assert estimate["value"] > uniform + 10 * estimate["stderr"], (name, estimate, uniform)
    assert_refused(call(*asked, 2), "policy_seed is 2, whose hidden world is not in the log", "0 to 1")
    of_another_seed(tmp_path / "run")
    assert_refused(
        call(*asked, 1), "--seed 7, whose hidden worlds are not those of the log", "allowed: one with --seed 0"
    )


def test_a_policy_can_be_taken_from_a_run_that_was_logged_itself(logs):
    config = checked(Config(**{**vars(PER_ARM), "agent": "linucb"}))
    state = policies.last_state(str(logs["ucb"]), config, 0).state
    assert float(state.pulls) == 200 * 32


def test_a_policy_can_be_taken_from_a_run_whose_feedback_came_late(tmp_path):
    config = Config(**{**vars(PER_ARM), "agent": "linucb", "delay": 3, "training_loops": 2})
    run(config, str(tmp_path / "late"), log_interactions=True)
    state = policies.last_state(str(tmp_path / "late"), checked(config), 0).state
    assert float(state.pulls) == (config.rounds - 3) * config.batch_size


def test_a_log_without_choice_is_warned_of(logs):
    shown = call("evaluate", logs["ucb"], "--agent", "uniform")
    assert shown.status == 0, shown
    assert "warning: no overlap: the logged policy had no choice (propensity 1)" in shown.out
    content = json.loads((logs["ucb"] / "evaluation.json").read_text())
    assert content["impossible"] == pytest.approx(6 / 7, abs=0.01)
    assert sum("weights average" in warning for warning in content["warnings"]) == 1


def test_an_estimated_propensity_of_one_is_no_lack_of_choice(logs):
    reader = log_reader.open_log(log_reader.epath.Path(logs["ucb"]))
    reader = replace(reader, header=replace(reader.header, propensity_exact=False))
    uniform = policies.make_policy(checked(PER_ARM), log_sums.spec_of(reader.header))
    table, overlap = log_sums.tally(reader, uniform, log_sums.fit(reader))
    assert (overlap.impossible, overlap.estimated) == (0, 200 * 32)
    warnings = list(evaluate._warnings(estimators.estimates(table, replicates=100), overlap, 6400.0, 1000.0))
    assert [warning.split(":")[0] for warning in warnings] == [
        "no overlap in places",
        "propensities are Monte Carlo estimates",
    ]


def test_features_of_arms_bound_how_many_users_are_judged_at_a_time(logs, tmp_path, monkeypatch):
    uniform, met = checked(PER_ARM), []
    whole = evaluate.evaluate(str(logs["linear-per-arm"]), uniform, out=str(tmp_path / "whole.json"))

    def make_policy(*arguments):
        policy = policies.make_policy(*arguments)
        return lambda context: (met.append(len(context.user)), policy(context))[1]

    monkeypatch.setattr(evaluate, "make_policy", make_policy)
    monkeypatch.setattr(log_sums, "MOST_NUMBERS", 7 * (4 + 5) * 1000)
    parts = evaluate.evaluate(str(logs["linear-per-arm"]), uniform, out=str(tmp_path / "parts.json"))
    assert met == [1000] * 7  # of 6,400
    assert parts["estimates"]["dr"]["value"] == pytest.approx(whole["estimates"]["dr"]["value"])


def test_the_command_evaluates_epsilon_greedy_and_prints_a_table(logs, tmp_path):
    shown = call("evaluate", logs["linear"], "--agent", "greedy", "--epsilon", 0.3, "--out", tmp_path / "e.json")
    assert shown.status == 0, shown
    for words in ("IPS", "SNIPS", "DM", "DR", "95 %", "19,200 interactions"):
        assert words in shown.out
    content = json.loads((tmp_path / "e.json").read_text())
    assert content["agent_settings"]["epsilon"] == 0.3
    # Untrained, all arms tie: it is the uniform policy.
    assert content["estimates"]["ips"]["value"] == pytest.approx(content["estimates"]["logged"]["value"], abs=1e-5)
    assert content["effective_sample_size"] == pytest.approx(19_200, rel=1e-5)


def test_thompson_sampling_is_evaluated_by_draws(logs, tmp_path):
    out = tmp_path / "e.json"
    shown = call("evaluate", logs["linear"], "--agent", "lints", "--propensity-samples", 50, "--out", out)
    assert shown.status == 0, shown
    content = json.loads(out.read_text())
    assert content["mean_weight"]["value"] == pytest.approx(1, abs=4 * content["mean_weight"]["stderr"])


def test_bad_input_is_refused_in_one_line(logs, tmp_path, monkeypatch):
    assert_refused(
        call("evaluate", tmp_path, "--agent", "uniform"), "holds no logged interactions", "--log-interactions"
    )
    assert_refused(call("evaluate", logs["linear"], "--agent", "unifrom"), "unknown agent 'unifrom'", "'uniform'")
    assert_refused(call("evaluate", logs["linear"]), "agent is missing")
    assert_refused(call("evaluate", logs["linear"], "--agent", "uniform", "--alpha", 1), "unknown flag")
    assert_refused(call("evaluate", logs["linear"], "--agent", "linucb", "--alpha", -1), "alpha is '-1'")
    assert_refused(call("evaluate", logs["linear"], "--policy-from", tmp_path), "holds no run")
    assert_refused(call("evaluate", logs["linear"], "--policy-from", logs["ucb"]), "another world", "linear-per-arm")
    assert_refused(call("evaluate", logs["linear"], "--config", logs["ucb"] / "config.json"), "another world")
    assert_refused(call("evaluate", logs["ucb"], "--policy-from", logs["ucb"], "--policy-seed", 3), "policy_seed is 3")
    assert_refused(call("evaluate", logs["ucb"], "--policy-from", logs["ucb"], "--agent", "lints"), "agent")
    changed = ("--policy-from", logs["ucb"], "--add-bias", "true")
    assert_refused(call("evaluate", logs["ucb"], *changed), "whose add_bias is False, not True", "allowed: ", "alpha")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "config.json").write_text(json.dumps({"base": {}}))
    with pytest.raises(InputError, match="holds a sweep; allowed: the --out of a run"):
        policies.last_state(str(sweep), checked(PER_ARM), 0)
    assert_refused(call("evaluate", logs["ucb"], "--policy-from", sweep), "holds a sweep")
    shown = call("evaluate", logs["ucb"], "--agent", "uniform", "--out", tmp_path)
    assert_refused(shown, "a directory; allowed: a file")
    assert "building" not in shown.err
    out = tmp_path / "e.json"
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "make_policy", lambda *_: lambda context: jnp.zeros((len(context.user), 7)))
        with pytest.raises(InputError, match="never takes an action"):
            evaluate.evaluate(str(logs["ucb"]), checked(Config(agent="uniform")), out=str(out))
    assert not out.exists()
    with pytest.raises(InputError, match="sees mean rewards"):
        evaluate.evaluate(str(logs["linear"]), checked(Config(agent="oracle")))


def test_all_estimates_are_those_of_the_formulas_on_the_rows_of_the_log(logs, tmp_path):
    target = checked(Config(**{**vars(LINEAR), **SOFTMAX}))
    content = evaluate.evaluate(str(logs["linear"]), target, out=str(tmp_path / "e.json"))
    chance, rows, predicted = judged(logs["linear"], target)
    at = np.arange(len(rows)), rows["action"].to_numpy()
    weight = chance[at] / rows["propensity"].to_numpy()
    reward, value = rows["reward"].to_numpy(), np.sum(chance * predicted, axis=1)
    expected = {
        "ips": np.mean(weight * reward),
        "snips": np.sum(weight * reward) / np.sum(weight),
        "dm": np.mean(value),
        "dr": np.mean(value + weight * (reward - predicted[at])),
    }
    for name, number in expected.items():
        assert content["estimates"][name]["value"] == pytest.approx(number, rel=1e-5), name
    assert content["effective_sample_size"] == pytest.approx(np.sum(weight) ** 2 / np.sum(weight**2), rel=1e-5)


@cache
def _spec(env: str):
    return build(checked(LINEAR)).environment.spec


def judged(log: Path, target: Config) -> tuple[np.ndarray, pl.DataFrame, np.ndarray]:
    """Target probabilities, rows, and cross-fitted ridge predictions of a log with fixed arms."""
    frame = pl.concat([pl.read_parquet(path) for path in sorted((log / "interactions").glob("*.parquet"))])
    user, seed = frame["user"].to_numpy(), frame["seed"].to_numpy()
    policy = policies.make_policy(target, _spec("linear"))
    chance = np.asarray(policy(Context(jnp.asarray(user), jnp.arange(len(user)))), np.float64)
    predicted, x = np.zeros(chance.shape), np.concatenate([np.ones((len(user), 1)), user], axis=1).astype(np.float64)
    odd, action, reward = frame["round"].to_numpy() % 2, frame["action"].to_numpy(), frame["reward"].to_numpy()
    for s, fold, k in np.ndindex(3, 2, chance.shape[1]):
        fitted = (seed == s) & (odd != fold) & (action == k)
        mean = reward[(seed == s) & (odd != fold)].mean()
        moment = x[fitted].T @ (reward[fitted] - mean)
        theta = np.linalg.solve(x[fitted].T @ x[fitted] + np.eye(x.shape[1]), moment)
        predicted[(seed == s) & (odd == fold), k] = x[(seed == s) & (odd == fold)] @ theta + mean
    return chance, frame, predicted
