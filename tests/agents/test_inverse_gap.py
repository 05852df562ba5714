"""Inverse gap weighting: its probabilities by hand, and the agents that draw by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents import exploration, inverse_gap, whole_numbers
from jaxbandit.agents.models.gaussian import Posterior
from jaxbandit.types import Context, Spec
from tests.support import assert_counts, make_agent, one_lane, small_world, users

N = 20_000
KEY = jax.random.key(0)


def probabilities(scores, weight, mask=None) -> np.ndarray:
    context = users(1, mask=None if mask is None else np.array([mask]))
    return np.asarray(exploration.inverse_gap(context, jnp.array([scores], jnp.float32), weight))[0]


def test_probabilities_by_hand():
    # Gaps 1 and 3: 1 / (3 + 2) and 1 / (3 + 6); the rest is the best arm's.
    np.testing.assert_allclose(probabilities([1, 2, -1], 2.0), [1 / 5, 1 - 1 / 5 - 1 / 9, 1 / 9], rtol=1e-6)


def test_forbidden_arms_do_not_count():
    got = probabilities([9, 1, 2, -1], 2.0, [False, True, True, True])
    np.testing.assert_allclose(got, [0, 1 / 5, 1 - 1 / 5 - 1 / 9, 1 / 9], rtol=1e-6)
    np.testing.assert_allclose(probabilities([9, 1, 2], 0.0, [False, True, True]), [0, 0.5, 0.5])


def test_best_arms_share_the_rest():
    np.testing.assert_allclose(probabilities([2, 2, 1], 3.0), [5 / 12, 5 / 12, 1 / 6], rtol=1e-6)


def test_probabilities_add_up_where_scores_are_computed_in_the_same_kernel():
    def compute(user, arms):
        width = jnp.sqrt(jnp.sum(user * user, axis=-1))[:, None]
        return exploration.inverse_gap(users(N), user @ arms.T + 0.3 * width * arms[None, :, 0] / 3, 100.0)

    user, arms = jax.random.normal(KEY, (N, 7)), jax.random.normal(jax.random.key(1), (20, 7))
    np.testing.assert_allclose(jnp.sum(jax.jit(compute)(user, arms), axis=1), 1.0, rtol=1e-5)


def test_draws_follow_the_probabilities():
    p = jnp.array([0.5, 0.0, 0.2, 0.3])
    assert_counts(np.bincount(whole_numbers.draw(KEY, jnp.tile(p[None], (N, 1))), minlength=4), np.asarray(p))


# Models after 5, 0 and 4 pulls at x = 1 with moments 6, 0, 10: with ridge 1, f = 1, 0, 2.
PULLS = jnp.array([5.0, 0.0, 4.0])
STATE = Posterior(PULLS[:, None, None], jnp.array([6.0, 0.0, 10.0])[:, None], PULLS)


@pytest.mark.parametrize(
    ("agent", "weight"),
    [
        (inverse_gap.squarecb(Spec(3, 1, 0), gap_scale=2.0, gap_exponent=0.5), 2 * 9**0.5),
        (inverse_gap.squarecb(Spec(3, 1, 0), gap_scale=2.0, gap_exponent=0.0), 2.0),
        (inverse_gap.falcon(Spec(3, 1, 0), gap_scale=2.0), 2 * (3 * 9 / 3) ** 0.5),
    ],
    ids=["squarecb", "fixed", "falcon"],
)
def test_agents_draw_by_the_inverse_gap(agent, weight):
    context = Context(jnp.ones((N, 1)), jnp.arange(N))
    low, middle = 1 / (3 + 2 * weight), 1 / (3 + weight)
    expected = np.array([middle, low, 1 - low - middle])
    np.testing.assert_allclose(agent.probabilities(STATE, context)[0], expected, rtol=1e-5)
    assert_counts(np.bincount(agent.select(KEY, STATE, context).action, minlength=3), expected)


def test_falcon_counts_allowed_arms_alone():
    agent = inverse_gap.falcon(Spec(3, 1, 0), gap_scale=2.0)
    context = Context(jnp.ones((N, 1)), jnp.arange(N), mask=jnp.tile(jnp.array([[True, True, False]]), (N, 1)))
    other = 1 / (2 + 2 * (2 * 9 / 3) ** 0.5)
    action = agent.select(KEY, STATE, context).action
    assert_counts(np.bincount(action, minlength=3), np.array([1 - other, other, 0]))


@pytest.mark.parametrize("name", ["squarecb", "falcon"])
def test_an_empty_model_draws_uniformly(name):
    agent = {"squarecb": inverse_gap.squarecb, "falcon": inverse_gap.falcon}[name](Spec(4, 2, 0))
    assert_counts(np.bincount(agent.select(KEY, agent.init(KEY), users(N, 2)).action, minlength=4), np.full(4, 1 / 4))


@pytest.mark.parametrize("name", ["squarecb", "falcon"])
@pytest.mark.parametrize("env", ["linear", "linear-per-arm"])
def test_it_learns(name, env):
    environment, params = small_world(env)
    run = one_lane(environment, params, make_agent(name, environment), 8)
    metrics = run(KEY, {}, np.array([0, 200, 400], np.int32))[1]
    assert metrics.regret[1] < 0.3 * (metrics.optimal - metrics.uniform)[1]
