"""Slates: the cascade of a user over all slates of a tiny problem, and the agents that learn from it."""

from functools import cache, partial
from itertools import combinations, permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.agents.cascade import cascade_linucb, cascade_plackett_luce, examined, plackett_luce, top
from jaxbandit.agents.models import gaussian
from jaxbandit.envs.cascade import cascade, clicks
from jaxbandit.envs.outcome import slate_outcome
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build
from jaxbandit.simulation.metrics import measure
from jaxbandit.types import Interaction, Outcome, Spec
from tests.support import assert_counts, assert_mean, f64, make_agent, one_lane, users

MEANS = np.array([0.6, 0.1, 0.35, 0.8])
SLATES = list(permutations(range(4), 2))
MANY = 4_000


def chance(slate) -> float:
    """Probability that any arm of a slate attracts."""
    return 1 - np.prod(1 - MEANS[list(slate)])


def everybody(slates: np.ndarray):
    means = jnp.broadcast_to(jnp.asarray(MEANS, jnp.float32)[None], (len(slates), 4))
    return means, jnp.asarray(slates, jnp.int32)


def test_a_click_is_at_the_first_arm_that_attracts_for_every_slate():
    reward = np.asarray(clicks(jax.random.key(0), *everybody(np.repeat(SLATES, MANY, axis=0))))
    assert np.all(np.isin(reward, (0, 1)))
    assert np.all(reward.sum(axis=1) <= 1)
    for slate, seen in zip(SLATES, reward.reshape(len(SLATES), MANY, 2), strict=True):
        first, second = MEANS[list(slate)]
        counts = np.array([seen[:, 0].sum(), seen[:, 1].sum(), MANY - seen.sum()])
        assert_counts(counts, np.array([first, (1 - first) * second, (1 - first) * (1 - second)]))


@pytest.mark.parametrize("allowed", [(0, 1, 2, 3), (0, 2, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("size", [2, 3])
def test_the_worth_of_slates_is_that_of_their_enumeration(allowed, size):
    if size > len(allowed):
        pytest.skip("a mask leaves as many arms as a slate has")
    slates = np.array(list(permutations(allowed, size)))
    means, action = everybody(slates)
    mask = None if len(allowed) == 4 else np.tile(np.isin(np.arange(4), allowed), (len(slates), 1))
    outcome = slate_outcome(users(len(slates), mask=mask), means, action, jnp.zeros(action.shape))
    np.testing.assert_allclose(outcome.expected, [chance(slate) for slate in slates], rtol=1e-6)
    worths = [chance(slate) for slate in combinations(allowed, size)]
    np.testing.assert_allclose(outcome.optimal, max(worths), rtol=1e-6)
    np.testing.assert_allclose(outcome.uniform, np.mean(worths), rtol=1e-6)
    # Exactly: a slate of the best arms in any order regrets nothing.
    best = np.array([chance(slate) > max(worths) - 1e-9 for slate in slates])
    np.testing.assert_array_equal(np.asarray(outcome.expected == outcome.optimal), best)


def test_the_world_shows_arms_that_attract_by_taste():
    environment, params = cascade(attraction=0.3)
    assert environment.spec == Spec(10, 4, 5, (0.0, 1.0), 3)
    tastes = environment.init(jax.random.key(0), params)
    context, means = environment.observe(jax.random.key(1), params, tastes, 50)
    weights = f64(tastes.common) + f64(context.user) @ f64(tastes.personal).T
    logit = np.log(0.3 / 0.7) + np.einsum("bka,ba->bk", f64(context.arms), weights)
    np.testing.assert_allclose(means, 1 / (1 + np.exp(-logit)), atol=1e-5)
    many = jax.vmap(lambda key: environment.init(key, params))(jax.random.split(jax.random.key(2), 2_000))
    assert_mean(jnp.sum(many.common**2, axis=1), 1.0)
    assert_mean(jnp.sum(many.personal**2, axis=(1, 2)), 1.0)


def test_the_return_of_a_slate_is_its_click():
    reward = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    one = jnp.ones(2)
    assert measure(Outcome(reward, one, one, one)).average_return == 0.5


def test_arms_are_drawn_in_turn_with_the_likelihood_of_plackett_and_luce():
    scores = np.array([1.0, -0.5, 0.2, 0.0])
    drawn = np.asarray(plackett_luce(jax.random.key(0), jnp.tile(jnp.float32(scores)[None], (40_000, 1)), 3))
    slates = list(permutations(range(4), 3))
    likelihood = [np.prod([np.exp(scores[a]) / np.exp(np.delete(scores, slate[:i])).sum() for i, a in enumerate(slate)])
                  for slate in slates]  # fmt: skip
    assert np.sum(likelihood) == pytest.approx(1)
    assert_counts(np.array([np.all(drawn == slate, axis=1).sum() for slate in slates]), np.array(likelihood))


def test_the_best_arms_come_first_and_equal_ones_in_random_order():
    scores = jnp.tile(jnp.array([[1.0, 3.0, 1.0, -jnp.inf, 1.0]]), (9_000, 1))
    ranked = np.asarray(top(jax.random.key(0), scores, 3))
    assert np.all(ranked[:, 0] == 1)
    for position in (1, 2):
        assert_counts(np.bincount(ranked[:, position], minlength=5), np.array([1, 0, 1, 0, 1]) / 3)
    assert np.all(ranked[:, 1] != ranked[:, 2])


def test_what_stands_below_a_click_was_not_examined():
    reward = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(examined(reward), np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], bool))


@pytest.mark.parametrize("arm_dim", [0, 2])
@pytest.mark.parametrize("make", [cascade_linucb, cascade_plackett_luce])
def test_an_update_adds_the_pairs_that_were_examined_and_no_others(make, arm_dim):
    rng = np.random.default_rng(0)
    agent = make(Spec(4, 3, arm_dim, slate_size=2), add_bias=False, features="concat")
    arms = jnp.asarray(rng.standard_normal((4, 4, arm_dim)), jnp.float32) if arm_dim else None
    context = users(4, 3, arms=arms)
    action, reward = (
        jnp.array([[0, 3], [2, 1], [3, 0], [1, 2]]),
        jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1, 0]]),
    )
    seen = Interaction(context, action, reward, jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.int32(0))
    state = agent.update(jax.random.key(0), agent.init(jax.random.key(0)), seen)
    pairs = [(0, 0, 0.0), (0, 3, 1.0), (1, 2, 1.0), (2, 3, 0.0), (2, 0, 0.0)]  # user, arm, click
    if arm_dim:
        x = np.array([np.concatenate([f64(context.user[b]), f64(arms[b, a])]) for b, a, _ in pairs])
        clicked = np.array([c for _, _, c in pairs])
        np.testing.assert_allclose(state.precision, x.T @ x, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.moment, x.T @ clicked, rtol=1e-5, atol=1e-6)
        assert state.pulls == 5
        return
    for arm in range(4):
        x = np.array([f64(context.user[b]) for b, a, _ in pairs if a == arm]).reshape(-1, 3)
        clicked = np.array([c for _, a, c in pairs if a == arm])
        np.testing.assert_allclose(state.precision[arm], x.T @ x, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.moment[arm], x.T @ clicked, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.pulls, [2, 0, 1, 2])


def test_cascade_linucb_ranks_by_its_upper_bounds():
    agent = cascade_linucb(Spec(4, 3, 2, slate_size=2), alpha=0.7, features="concat", add_bias=False)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 5))
    state = gaussian.Posterior(jnp.float32(x.T @ x), jnp.float32(x.T @ rng.random(30)), jnp.float32(30))
    context = users(6, 3, arms=jnp.asarray(rng.standard_normal((6, 4, 2)), jnp.float32))
    inverse = np.linalg.inv(f64(state.precision) + np.eye(5))
    pairs = np.concatenate([np.repeat(f64(context.user)[:, None], 4, axis=1), f64(context.arms)], axis=-1)
    width = np.sqrt(np.einsum("bki,ij,bkj->bk", pairs, inverse, pairs))
    scores = pairs @ inverse @ f64(state.moment) + 0.7 * width
    action = agent.select(jax.random.key(0), state, context).action
    np.testing.assert_array_equal(action, np.argsort(-scores, axis=1)[:, :2])


@cache
def regrets(name: str, **settings) -> np.ndarray:
    """Share of the uniform policy's regret, in the first and in the last quarter."""
    environment, params = cascade(num_actions=8, slate_size=2, user_dim=2, arm_dim=3)
    run = one_lane(environment, params, make_agent(name, environment), 32)
    traced = {key: jnp.float32(value) for key, value in settings.items()}
    metrics = run(jax.random.key(0), traced, np.array([0, 75, 225, 300], np.int32))[1]
    return f64(metrics.regret / (metrics.optimal - metrics.uniform))[[0, 2]]


@pytest.mark.parametrize(
    ("name", "settings"), [("cascade-linucb", {"alpha": 0.3}), ("cascade-plackett-luce", {"temperature": 0.03})]
)
def test_agents_of_slates_learn_what_attracts(name, settings):
    first, last = regrets(name, **settings)
    assert last < first
    # A linear model of a logistic world never gets it all right; uniform would be 1.
    assert last < 0.25


def test_agents_and_worlds_of_slates_are_for_each_other():
    make = partial(Config, training_loops=1)
    for config, words in (
        (make(env="cascade", agent="linucb"), "agent is linucb, but env cascade wants slates of 3 arms of each user"),
        (make(env="wheel", agent="cascade-linucb"), "slate_size is 1: this agent ranks slates; allowed: an env"),
    ):
        with pytest.raises(InputError, match=words):
            build(checked(config))
    for agent in ("uniform", "oracle", "cascade-linucb", "cascade-plackett-luce"):
        build(checked(make(env="cascade", agent=agent)))


def test_a_slate_longer_than_the_arms_is_refused():
    with pytest.raises(InputError, match="slate_size is 4, but 3 arms are offered; allowed: 2 to 3"):
        cascade(num_actions=3, slate_size=4)
