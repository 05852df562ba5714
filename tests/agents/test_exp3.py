"""EXP3, Bernoulli Thompson sampling and the best fixed arm: agents that look at no features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import beta

from jaxbandit._core.errors import InputError
from jaxbandit.agents import bernoulli, exp3, settings
from jaxbandit.agents.baselines import best_fixed_arm
from jaxbandit.simulation import lanes
from jaxbandit.types import Interaction, Spec
from tests.support import assert_counts, coins, make_agent, one_lane, small_world, users

N = 20_000
KEY = jax.random.key(0)
UNIT = Spec(3, 1, 0, (0.0, 1.0))


def seen(action, reward, memory=(), mask=None, weight=None) -> Interaction:
    action, reward = jnp.array(action, jnp.int32), jnp.array(reward, jnp.float32)
    weight = jnp.ones(len(action)) if weight is None else jnp.asarray(weight, jnp.float32)
    context = users(len(action), mask=None if mask is None else np.asarray(mask))
    return Interaction(context, action, reward, weight, jnp.int32(0), memory)


def test_expected_increments_of_exp3_are_the_rewards():
    reward, probability = jnp.array([1.0, 0.5, 0.0]), jnp.array([0.2, 0.3, 0.5])
    increments = exp3.gains(3, jnp.arange(3, dtype=jnp.int32), reward, probability)
    np.testing.assert_allclose(probability @ increments, [1.0, 0.5, 0.0], atol=1e-6)


def test_a_forbidden_arm_is_credited_with_what_the_policy_expects():
    reward, probability = jnp.array([1.0, 0.5]), jnp.array([0.4, 0.6])
    mask = jnp.array([[True, True, False]] * 2)
    increments = exp3.gains(3, jnp.arange(2, dtype=jnp.int32), reward, probability, mask)
    np.testing.assert_allclose(probability @ increments, [1.0, 0.5, 0.4 * 1 + 0.6 * 0.5], atol=1e-6)


def test_exp3_updates_by_hand():
    agent = exp3.exp3(UNIT, eta=0.5)
    batch = seen([0, 2, 1], [0.5, 0.0, 0.7], jnp.array([0.25, 0.5, 0.1]), weight=[1, 1, 0])
    state = agent.update(KEY, agent.init(KEY), batch)
    # Arm 0 loses .5 / .25, arm 2 loses 1 / .5, and the third user is not there.
    np.testing.assert_allclose(state - state[1], [-2.0, 0.0, -2.0], atol=1e-6)


@pytest.mark.parametrize("mask", [[True, True, True], [True, False, True]])
def test_exp3_draws_by_softmax_and_remembers_the_propensity(mask):
    agent, state, context = exp3.exp3(UNIT, eta=0.5), jnp.array([0.0, -1.0, -3.0]), users(N, mask=np.tile(mask, (N, 1)))
    decision, expected = agent.select(KEY, state, context), softmax(np.where(mask, [0.0, -0.5, -1.5], -np.inf))
    np.testing.assert_allclose(agent.probabilities(state, context)[0], expected, rtol=1e-5)
    assert_counts(np.bincount(decision.action, minlength=3), expected)
    np.testing.assert_allclose(decision.memory, expected[np.asarray(decision.action)], rtol=1e-5)


@pytest.mark.parametrize("factory", [exp3.exp3, bernoulli.bernoulli_ts])
def test_rewards_without_bounds_are_refused(factory):
    free = Spec(3, 1, 0)
    with pytest.raises(InputError, match=r"^reward_low is auto, but .* allowed: a number$"):
        factory(free)
    with pytest.raises(InputError, match=r"^reward_high is auto, but .* allowed: a number$"):
        factory(free, reward_low=0.0)
    with pytest.raises(InputError, match=r"^reward_low is 2; allowed: a number < reward_high, which is 1$"):
        factory(UNIT, reward_low=2.0)
    factory(free, reward_low=-1.0, reward_high=1.0)


def test_rewards_are_scaled_and_clipped():
    bounds = settings.reward_bounds(Spec(3, 1, 0, (1.0, 5.0)), settings.RewardRange(reward_high=3.0))
    np.testing.assert_allclose(settings.to_unit(jnp.array([0.0, 1.0, 1.5, 3.0, 9.0]), bounds), [0, 0, 0.25, 1, 1])


def test_bernoulli_ts_counts_by_hand():
    agent = bernoulli.bernoulli_ts(UNIT, reward_low=0.0, reward_high=2.0)
    state = agent.update(KEY, agent.init(KEY), seen([0, 0, 2, 1], [2.0, 0.5, 9.0, 1.0], weight=[1, 1, 1, 0]))
    np.testing.assert_allclose(state.alpha, [1 + 1 + 0.25, 1, 2])
    np.testing.assert_allclose(state.beta, [1 + 0 + 0.75, 1, 1])


@pytest.mark.parametrize("mask", [[True, True, True], [True, True, False]])
def test_bernoulli_ts_takes_an_arm_as_often_as_its_draw_wins(mask):
    state = bernoulli.Beta(jnp.array([2.0, 1.0, 1.0]), jnp.array([1.0, 1.0, 3.0]))
    action = bernoulli.bernoulli_ts(UNIT).select(KEY, state, users(N, mask=np.tile(mask, (N, 1)))).action
    p = (np.arange(20_000) + 0.5) / 20_000
    pdf, cdf = ([getattr(beta(a, b), f)(p) for a, b in ((2, 1), (1, 1), (1, 3))] for f in ("pdf", "cdf"))
    others = [[k for k in range(3) if k != arm and mask[k]] for arm in range(3)]
    wins = [mask[a] * np.mean(pdf[a] * np.prod([cdf[k] for k in others[a]], axis=0)) for a in range(3)]
    assert_counts(np.bincount(action, minlength=3), np.array(wins))


@pytest.mark.parametrize("name", ["exp3", "bernoulli-ts", "best-fixed-arm"])
def test_it_finds_the_best_arm(name):
    world, means = coins()
    run = one_lane(world, means, make_agent(name, world), 8)
    metrics = run(KEY, {}, np.array([0, 400, 800], np.int32))[1]
    assert metrics.regret[1] < 0.3 * (metrics.optimal - metrics.uniform)[1]


def test_the_best_fixed_arm_is_the_best_in_hindsight_of_what_it_saw():
    agent = best_fixed_arm(Spec(2, 1, 0))
    context = users(2)._replace(truth=jnp.array([[1.0, 0.0], [0.0, 0.5]]))
    assert agent.privileged
    state = agent.init(KEY)
    np.testing.assert_array_equal(agent.select(KEY, state, context).action, 0)  # 1 against .5
    batch = seen([0, 0], [1.0, 0.0])._replace(context=context._replace(truth=jnp.array([[0.0, 0.2], [0.0, 0.2]])))
    state = agent.update(KEY, state, batch)
    np.testing.assert_array_equal(agent.select(KEY, state, context).action, 0)  # 1 against .9
    state = agent.update(KEY, state, batch._replace(weight=jnp.array([0.0, 1.0])))
    np.testing.assert_array_equal(agent.select(KEY, state, context).action, 1)  # 1 against 1.1


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_exp3_ends_in_the_same_bits_in_any_company(columns):
    world, params = small_world("mf", num_actions=8)
    make, rates = make_agent("exp3", world), np.float32(np.geomspace(0.005, 0.5, 33))

    def ends(rates):
        simulation = lanes.Simulation(world, params, make, {"eta": rates}, 8)
        program = lanes.compile_lanes(KEY, simulation, num_seeds=2, num_points=1, devices=jax.devices()[:1])
        return np.asarray(program.advance(program.begin(), np.array([0, 100], np.int32))[0].agent)

    np.testing.assert_array_equal(ends(rates[:columns]), ends(rates)[:, :columns])
