"""Feedback that comes late: what an agent is shown, when, and what it costs; and the config that says so."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.halving import check_delays
from jaxbandit.experiments.sweep_config import make_sweep_config
from jaxbandit.experiments.world import build, group_members
from jaxbandit.simulation import rounds as simulate
from jaxbandit.simulation.delay import delayed
from jaxbandit.types import Agent, Decision, Interaction
from tests.support import f64, make_agent, masked, small_world

BATCH, ROUNDS = 4, 9
ROOT = jax.random.key(5)
# Arms of a catalogue, of each user's own; slates.
CASES = [
    ("linucb", "mf-per-arm", 1),
    ("linucb", "mf-per-arm", 4),
    ("neural-boltzmann", "linear-per-arm", 4),
    ("cascade-linucb", "cascade", 4),
]


@cache
def world(env: str):
    environment, params = small_world(env)
    return masked(environment), params


def wait(agent: str, env: str, delay: int) -> Agent:
    environment, params = world(env)
    return delayed(make_agent(agent, environment), environment, params, BATCH, delay)()


@cache
def played(agent: str, env: str, delay: int, rounds: int = ROUNDS):
    environment, params = world(env)
    policy = wait(agent, env, delay)

    @jax.jit
    def run(params, edges):
        lane = simulate.Lane(environment, params, policy, BATCH)
        return simulate.simulate(ROOT, lane, simulate.start(ROOT, lane), edges)

    return run(params, jnp.arange(rounds + 1, dtype=jnp.int32))


@cache
def by_hand(agent: str, env: str, delay: int):
    """A plain loop over rounds that hands on the interaction of `delay` rounds ago."""
    environment, params = world(env)
    policy = make_agent(agent, environment)()

    def act(params, carry, round):
        keys = prng.split(prng.fold_in(ROOT, round), 4)
        context, means = environment.observe(keys[0], params, carry.environment, BATCH)
        decision = policy.select(keys[1], carry.agent, context)
        state, outcome = environment.respond(keys[2], params, carry.environment, context, means, decision.action)
        weight = jnp.ones(BATCH)
        seen = Interaction(context, decision.action, outcome.reward, weight, round, decision.memory)
        return seen, keys[3], state, jnp.mean(outcome.optimal - outcome.expected)

    act, update = jax.jit(act), jax.jit(policy.update)
    carry, past, regret = (
        jax.jit(lambda: simulate.start(ROOT, simulate.Lane(environment, params, policy, BATCH)))(),
        [],
        [],
    )
    for round in range(ROUNDS):
        seen, key, state, lost = act(params, carry, jnp.int32(round))
        past.append(seen)
        due = past[round - delay] if round >= delay else seen._replace(weight=jnp.zeros(BATCH))
        carry = simulate.Carry(state, update(key, carry.agent, due._replace(round=jnp.int32(round - delay))))
        regret.append(float(lost))
    return carry.agent, regret


@pytest.mark.parametrize(("agent", "env", "delay"), CASES)
def test_a_delay_equals_a_loop_that_hands_on_older_interactions(agent, env, delay):
    carry, metrics = played(agent, env, delay)
    state, regret = by_hand(agent, env, delay)
    # float32 in another order; users of the linear worlds have features up to 10.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), carry.agent.agent, state)
    np.testing.assert_allclose(metrics.regret, regret, rtol=1e-4, atol=1e-4)


def witness() -> Agent:
    """An agent that remembers how many updates it had made when it acted, and keeps what it is handed of that."""

    def select(key, state, context):
        return Decision(jnp.zeros(BATCH, jnp.int32), jnp.full(BATCH, state[0], jnp.float32))

    def update(key, state, seen):
        row = jnp.concatenate([seen.round[None].astype(jnp.float32), seen.weight, seen.memory])
        return state[0] + 1, state[1].at[state[0]].set(row)

    return Agent(lambda key: (jnp.int32(0), jnp.zeros((ROUNDS, 1 + 2 * BATCH))), select, update)


def test_nothing_has_arrived_before_the_delay_is_over_and_then_every_batch_once():
    environment, params = world("wheel")
    policy = delayed(witness, environment, params, BATCH, 3)()
    lane = simulate.Lane(environment, params, policy, BATCH)
    carry, _ = simulate.simulate(ROOT, lane, simulate.start(ROOT, lane), jnp.array([0, ROUNDS], jnp.int32))
    rounds, weight, acted = np.split(np.asarray(carry.agent.agent[1]), [1, 1 + BATCH], axis=1)
    np.testing.assert_array_equal(rounds[:, 0], np.arange(ROUNDS) - 3)  # of the batch
    np.testing.assert_array_equal(weight, np.repeat(np.arange(ROUNDS) >= 3, BATCH).reshape(ROUNDS, BATCH))
    np.testing.assert_array_equal(acted[3:], np.repeat(np.arange(ROUNDS - 3), BATCH).reshape(-1, BATCH))


def test_the_ring_keeps_what_varies_and_no_catalogue():
    environment, params = small_world("mf-per-arm")
    policy = delayed(make_agent("linucb", environment), environment, params, BATCH, 7)()
    ring = jax.eval_shape(policy.init, ROOT).ring
    assert all(leaf.shape[:2] == (7, BATCH) for leaf in jax.tree.leaves(ring))
    dim = environment.spec.user_dim
    words_kept = BATCH * (dim + 1 + environment.spec.num_actions + 3)  # users, ids, arms; action, reward, weight
    assert sum(leaf.size for leaf in jax.tree.leaves(ring)) == 7 * words_kept


def test_without_a_delay_the_program_has_none():
    config = Config(env="wheel", agent="linucb", training_loops=2, steps_per_loop=3)
    assert build(checked(config)).factory.func is AGENTS["linucb"]
    waiting = build(checked(replace(config, delay=2)))
    assert waiting.factory.__name__ == "make"
    assert "delay" not in build(checked(config)).grid


@pytest.mark.parametrize(
    ("delay", "words"),
    [(6, "delay is 6 of 6 rounds; allowed: 0 to 5"), (-1, "delay is -1; allowed: a whole number >= 0")],
)
def test_a_delay_that_is_none_or_outlasts_the_run_is_refused(delay, words):
    config = Config(env="wheel", training_loops=2, steps_per_loop=3)
    with pytest.raises(InputError, match=words):
        checked(replace(config, delay=delay))
    assert checked(replace(config, delay=5)).delay == 5


def test_delays_are_swept_and_each_is_a_program_of_its_own():
    swept = make_sweep_config(Config(env="wheel"), {}, ["linucb"], grid={"delay": "0,5", "alpha": "1,2"}, sample={})
    configs = swept.configs()
    assert [(c.delay, c.agent_settings["alpha"]) for c in configs] == [(0, 1.0), (0, 2.0), (5, 1.0), (5, 2.0)]
    assert group_members(configs) == [[0, 1], [2, 3]]


def test_a_delay_is_over_before_the_first_rung_of_a_halving_ends():
    config = Config(env="wheel", training_loops=9, steps_per_loop=5)
    check_delays([replace(config, delay=14)] * 9, 3)  # 15 of 45 rounds
    check_delays([replace(config, delay=44)] * 9, None)
    with pytest.raises(InputError, match=r"^delay is 15, .* has 15 of 45 rounds; allowed: 0 to 14$"):
        check_delays([replace(config, delay=14)] * 8 + [replace(config, delay=15)], 3)


def test_a_ring_or_a_window_larger_than_a_gibibyte_is_refused_when_the_world_is_built():
    config = Config(env="linear", batch_size=1000, training_loops=10**6)
    with pytest.raises(InputError, match=r"^delay is 20000: rows of 76000 bytes .* at most 14128 rows"):
        build(checked(replace(config, delay=20_000)))
    build(checked(replace(config, delay=14_128)))
    forgetful = replace(config, agent="sliding-window-linucb", agent_settings={"window": 10**8})
    with pytest.raises(InputError, match=r"^window is 100000000: rows of \d+ bytes"):
        build(checked(forgetful))


def test_what_is_learned_late_is_regretted_until_then():
    _, metrics = played("linucb", "linear", 20, rounds=40)
    early, late = f64(metrics.regret[:21]).mean(), f64(metrics.regret[25:]).mean()
    assert late < 0.5 * early
