"""Hybrid, sliding-window, discounted and logistic agents against textbook loops in float64."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS, hybrid, logistic, nonstationary
from jaxbandit.agents.linear import make_model
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.gaussian import Posterior
from jaxbandit.agents.settings import LinearSettings
from jaxbandit.types import Context, Interaction, Spec
from tests.reference import more_linear as textbook
from tests.reference.linear import joint
from tests.support import assert_counts, bounded, f64, make_agent, one_lane, small_world

ROUNDS, BATCH, ARMS, DIM, RIDGE = 40, 6, 3, 4, 0.5
KEY = jax.random.key(0)
FIXED, FEATURED = Spec(ARMS, DIM, 0, (0.0, 1.0)), Spec(ARMS, DIM, DIM, (0.0, 1.0))


class Data(NamedTuple):
    """What every round brings; each leaf has the rounds first."""

    user: np.ndarray
    arms: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    weight: np.ndarray


@cache
def data() -> Data:
    rng = np.random.default_rng(0)
    user, arms = rng.standard_normal((ROUNDS, BATCH, DIM)), rng.standard_normal((ROUNDS, BATCH, ARMS, DIM))
    action = rng.integers(0, ARMS, (ROUNDS, BATCH)).astype(np.int32)
    reward, weight = rng.random((ROUNDS, BATCH)), rng.choice([0.0, 0.5, 1.0], (ROUNDS, BATCH))
    return Data(*(x.astype(np.float32) for x in (user, arms)), action, reward.astype(np.float32), weight.astype("f"))


def learned(agent, spec: Spec, rounds: int = ROUNDS, first: int = 0):
    """The state of an agent after the rounds first ... rounds - 1."""

    def one_round(state, now):
        seen, number = now
        arms = seen.arms if spec.arm_dim else None
        context = Context(seen.user, jnp.arange(BATCH), arms=arms)
        return agent.update(KEY, state, Interaction(context, seen.action, seen.reward, seen.weight, number)), None

    rows = jax.tree.map(lambda x: jnp.asarray(x[first:rounds]), data())
    numbers = jnp.arange(first, rounds, dtype=jnp.int32)
    return jax.jit(lambda rows: jax.lax.scan(one_round, agent.init(KEY), (rows, numbers))[0])(rows)


def close(got, expected) -> None:
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4)


def test_hybrid_linucb_equals_algorithm_2_of_the_paper():
    # Weights and the ridge of 1 that the paper has scale the data.
    state = learned(hybrid.hybrid_linucb(FIXED), FIXED)
    reference, seen = textbook.Hybrid(ARMS, DIM, DIM), data()
    for x, a, r, w in zip(
        f64(seen.user).reshape(-1, DIM), seen.action.ravel(), f64(seen.reward).ravel(), seen.weight.ravel(), strict=True
    ):
        reference.update(a, *(np.sqrt(w / RIDGE) * part for part in (x, x, r)))
    users = seen.user[0]
    mean, variance = hybrid.predict(jnp.asarray(users), gaussian.solve(state, RIDGE), RIDGE)
    expected = np.array([[reference.predict(a, x, x) for a in range(ARMS)] for x in f64(users)])
    close(mean, expected[..., 0])
    close(RIDGE * variance, expected[..., 1])


def test_hybrid_linucb_learns_of_arms_that_it_never_pulled():
    user = jnp.eye(DIM)[:1]
    seen = Interaction(Context(user, jnp.arange(1)), jnp.zeros(1, jnp.int32), jnp.ones(1), jnp.ones(1), jnp.int32(0))
    agent = hybrid.hybrid_linucb(FIXED)
    state = agent.update(KEY, agent.init(KEY), seen)
    mean, _ = hybrid.predict(user, gaussian.solve(state, 1.0), 1.0)
    # The reward 1 = beta + theta_0 + noise of three unit variances: a third of it is each one's.
    close(mean[0], [2 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("name", ["hybrid-linucb", "bernoulli-ts", "exp3", "best-fixed-arm"])
def test_agents_of_fixed_arms_refuse_arms_with_features(name):
    with pytest.raises(InputError, match=rf"^agent is '{name}', but arms .* allowed: fixed arms$"):
        AGENTS[name](FEATURED)


@pytest.mark.parametrize("spec", [FIXED, FEATURED], ids=["fixed", "featured"])
@pytest.mark.parametrize("size", [1, 7, 13])
@pytest.mark.parametrize("rounds", [5, 14, ROUNDS])
def test_a_window_holds_the_last_batches_exactly(spec, size, rounds):
    agent = nonstationary.sliding_window_linucb(spec, window=size)
    model = make_model(spec, LinearSettings())
    alone = replace(
        agent, init=lambda key: model.init(), update=lambda key, state, seen: model.update(state, seen)
    )  # LinUCB that sees the last batches alone
    got, expected = learned(agent, spec, rounds).total, learned(alone, spec, rounds, max(0, rounds - size))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, expected)


def test_a_window_forgets_a_huge_batch_without_a_trace():
    # What is subtracted again would leave its rounding behind: 1e8 has a spacing of 8 in float32.
    state = learned(nonstationary.sliding_window_linucb(FIXED, window=3), FIXED, 3)
    huge, one = (Posterior(*(jnp.full_like(x[0], size) for x in state.ring)) for size in (1e8, 1.0))
    for place, batch in [(0, huge), (1, one), (2, one), (0, one)]:
        state = nonstationary.push(state, batch, jnp.int32(place))
    np.testing.assert_array_equal(state.total.pulls, 3.0)


@pytest.mark.parametrize("spec", [FIXED, FEATURED], ids=["fixed", "featured"])
def test_discounted_linucb_equals_the_textbook_sums(spec):
    gamma, seen = 0.9, data()
    state = learned(nonstationary.discounted_linucb(spec, gamma=gamma), spec)
    users, arms = jnp.asarray(seen.user[0]), jnp.asarray(seen.arms[0])
    solution = gaussian.solve(state.once, RIDGE)
    rows = users[:, None] if spec is FIXED else features.joint("concat", False, users[:, None], arms)
    variance = nonstationary.sandwich(rows, solution, state.twice, RIDGE)
    for a in range(ARMS):
        chosen = [np.take_along_axis(v, k[:, None, None], 1)[:, 0] for v, k in zip(seen.arms, seen.action, strict=True)]
        x = [f64(u if spec is FIXED else np.c_[u, v]) for u, v in zip(seen.user, chosen, strict=True)]
        mine = [w * (k == a) if spec is FIXED else w for w, k in zip(seen.weight, seen.action, strict=True)]
        theta, middle = textbook.discounted(list(zip(x, seen.reward, mine, strict=True)), gamma, RIDGE)
        close(solution.mean[a] if spec is FIXED else solution.mean, theta)
        at = f64(users if spec is FIXED else np.c_[users, arms[:, a]])
        close(variance[:, a], np.einsum("bi,ij,bj->b", at, middle, at))


@pytest.mark.parametrize("spec", [FIXED, FEATURED], ids=["fixed", "featured"])
def test_logistic_regression_equals_the_mode_found_in_float64(spec):
    seen = data()
    state = learned(logistic.logistic_ucb(spec, tikhonov_weight=RIDGE, newton_steps=8), spec)
    dim = DIM if spec is FIXED else 2 * DIM
    for a in range(len(state.mean)):
        mean, precision = np.zeros(dim), RIDGE * np.eye(dim)
        for u, v, k, r, w in zip(*seen, strict=True):
            arm = v[np.arange(BATCH), k]
            x = np.array([joint("concat", False, u[i], None if spec is FIXED else arm[i]) for i in range(BATCH)])
            w = w * (k == a) if spec is FIXED else w
            mean, precision = textbook.logistic(mean, precision, f64(x), f64(r), f64(w))
        close(state.mean[a], mean)
        close(state.precision[a] + RIDGE * np.eye(dim), precision)


def test_a_newton_step_that_overshoots_is_halved():
    # Far out on the flat side of the sigmoid the full step lands still farther out on the other side.
    start = logistic.Laplace(jnp.full((1, 1), -6.0), jnp.zeros((1, 1, 1)))
    batch = logistic.Batch(jnp.zeros(8, jnp.int32), jnp.ones((8, 1)), jnp.ones(8), jnp.ones(8))
    mode, _ = textbook.logistic(np.full(1, -6.0), np.full((1, 1), 0.01), np.ones((8, 1)), np.ones(8), np.ones(8))
    close(logistic.learn(start, batch, 0.01, 30).mean[0], mode)


def test_logistic_ts_draws_by_the_gaussian():
    # Two arms at x = 1: N(.5, 1 / 4) and N(0, 1); the first wins with probability Phi(.5 / sqrt(1.25)).
    agent = logistic.logistic_ts(Spec(2, 1, 0, (0.0, 1.0)), tikhonov_weight=1.0)
    state = logistic.Laplace(jnp.array([[0.5], [0.0]]), jnp.array([[[3.0]], [[0.0]]]))
    context = Context(jnp.ones((20_000, 1)), jnp.arange(20_000))
    action = agent.select(KEY, state, context).action
    share = norm.cdf(0.5 / np.sqrt(1.25))
    assert_counts(np.bincount(np.asarray(action), minlength=2), np.array([share, 1 - share]))


def test_logistic_ucb_adds_a_width():
    agent = logistic.logistic_ucb(Spec(2, 1, 0, (0.0, 1.0)), tikhonov_weight=1.0, alpha=2.0)
    state = logistic.Laplace(jnp.array([[0.5], [0.0]]), jnp.array([[[3.0]], [[0.0]]]))
    context = Context(jnp.ones((1, 1)), jnp.arange(1))
    assert agent.select(KEY, state, context).action == 1  # .5 + 2 / 2 < 0 + 2
    agent = logistic.logistic_ucb(Spec(2, 1, 0, (0.0, 1.0)), tikhonov_weight=1.0, alpha=0.4)
    assert agent.select(KEY, state, context).action == 0  # .5 + .4 / 2 > 0 + .4


def test_hybrid_linucb_acts_by_what_arms_share():
    # Rewards 1 and .2 of the first two arms: beta = .3, so that the arm never pulled beats the second, .1 + .3 / 2.
    context = Context(jnp.ones((2, 1)), jnp.arange(2), mask=jnp.tile(jnp.array([[False, True, True]]), (2, 1)))
    seen = Interaction(context, jnp.arange(2), jnp.array([1.0, 0.2]), jnp.ones(2), jnp.int32(0))
    agent = hybrid.hybrid_linucb(Spec(ARMS, 1, 0), alpha=0.0)
    state = agent.update(KEY, agent.init(KEY), seen)
    np.testing.assert_array_equal(agent.select(KEY, state, context).action, 2)


def test_discounted_linucb_acts_by_its_own_width():
    # Arm 0: .2 + sqrt(9) / 3 against 1 of arm 1; with LinUCB's width .2 + 1 / sqrt(3) it would lose.
    once = Posterior(jnp.array([[[2.0]], [[0.0]]]), jnp.array([[0.6], [0.0]]), jnp.array([2.0, 0.0]))
    state = nonstationary.Discounted(once, jnp.array([[[8.0]], [[0.0]]]))
    context = Context(jnp.ones((1, 1)), jnp.arange(1))
    assert nonstationary.discounted_linucb(Spec(2, 1, 0)).select(KEY, state, context).action == 0


def test_a_width_under_two_discounts_by_hand():
    # After one pull of arm 0 at x = 1, gamma .5 and an idle round: V = 1.5, V~ = 1.25, theta = .5 r / 1.5.
    agent = nonstationary.discounted_linucb(Spec(1, 1, 0), gamma=0.5)
    context = Context(jnp.ones((1, 1)), jnp.arange(1))
    seen = Interaction(context, jnp.zeros(1, jnp.int32), jnp.ones(1), jnp.ones(1), jnp.int32(0))
    state = agent.update(KEY, agent.init(KEY), seen)
    state = agent.update(KEY, state, seen._replace(weight=jnp.zeros(1)))
    solution = gaussian.solve(state.once, 1.0)
    close(solution.mean[0, 0], 0.5 / 1.5)
    close(nonstationary.sandwich(context.user[:, None], solution, state.twice, 1.0)[0, 0], 1.25 / 1.5**2)


@pytest.mark.parametrize(
    "name", ["hybrid-linucb", "sliding-window-linucb", "discounted-linucb", "logistic-ucb", "logistic-ts"]
)
def test_it_learns(name):
    environment, params = small_world("linear")
    if name.startswith("logistic"):
        environment = bounded(environment)
    run = one_lane(environment, params, make_agent(name, environment), 8)
    metrics = run(KEY, {}, np.array([0, 100, 200], np.int32))[1]
    uniform = metrics.optimal - metrics.uniform
    assert metrics.regret[1] < 0.3 * uniform[1]
