import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.envs.matrix_factorization import drift
from jaxbandit.envs.matrix_factorization.worlds import mf, mf_per_arm
from tests.support import assert_mean, f64, small_ratings

SIZES = {"num_actions": 5, "rank_k": 3, "factorizer": "residual_svd"}
each_form = pytest.mark.parametrize("form", [mf, mf_per_arm])


def test_a_walk_keeps_mean_and_spread_and_forgets_at_the_rate_of_the_closed_form():
    rng, sd, rounds = np.random.default_rng(0), 0.5, 6
    start = np.column_stack([3 + 2 * rng.standard_normal(20_000), 0.1 * rng.standard_normal(20_000), np.ones(20_000)])
    start = start.astype(np.float32)
    made = drift.walk(start, sd)
    keys = jax.random.split(jax.random.key(0), rounds)
    end = jax.lax.scan(lambda user, key: (drift.step(key, made, user), None), jnp.asarray(start), keys)[0]
    for column in (0, 1):
        first, last = (f64(x[:, column]) for x in (start, end))
        first, last = ((x - f64(start[:, column]).mean()) / f64(start[:, column]).std() for x in (first, last))
        assert_mean(last, 0.0)
        assert_mean(last**2, 1.0)
        assert_mean(first * last, (1 + sd**2) ** (-rounds / 2))
    np.testing.assert_array_equal(end[:, 2], 1.0)  # a column that is the same for all users stays


@each_form
def test_rewards_follow_the_tastes_and_what_is_observed_stays(form):
    environment, params = form(small_ratings(), **SIZES, user_drift=1.0)
    key, state = jax.random.key(0), environment.init(jax.random.key(1), params)
    context, means = environment.observe(key, params, state, 20)
    action = jnp.zeros(20, jnp.int32)
    walked, outcome = environment.respond(jax.random.key(2), params, state, context, means, action)
    np.testing.assert_array_equal(outcome.reward, means[:, 0])
    later, new_means = environment.observe(key, params, walked, 20)
    jax.tree.map(np.testing.assert_array_equal, context, later)
    item = f64(params.catalogue.features)
    item = item[None, :] if context.arm_id is None else item[np.asarray(context.arm_id)]
    rating = params.reward.mean + np.sum(f64(walked)[np.asarray(context.user_id), None] * item, axis=-1)
    np.testing.assert_allclose(new_means, np.clip(rating, 1, 5), atol=1e-4)
    assert np.mean(np.abs(f64(new_means) - f64(means)) > 0.01) > 0.9
    other = environment.respond(jax.random.key(2), params, state, context, means, action + 1)[0]
    np.testing.assert_array_equal(walked, other)  # whatever is recommended


@each_form
def test_without_drift_there_is_no_state_and_rewards_are_drawn_as_ever(form):
    plain, drifting = (form(small_ratings(), **SIZES, reward="star", user_drift=sd) for sd in (0.0, 0.1))
    assert plain[0].init(jax.random.key(0), plain[1]) == ()
    assert plain[1].walk is None
    for environment, params in (plain, drifting):
        state = environment.init(jax.random.key(0), params)
        context, means = environment.observe(jax.random.key(1), params, state, 20)
        np.testing.assert_array_equal(means, plain[0].observe(jax.random.key(1), plain[1], (), 20)[1])
    # The bits behind a reward are those of the world before there was any drift.
    action = jnp.zeros(20, jnp.int32)
    reward = plain[0].respond(jax.random.key(2), plain[1], (), context, means, action)[1].reward
    hits = jax.random.uniform(jax.random.key(2), (20, 4)) < (means[:, :1] - 1) / 4
    np.testing.assert_allclose(reward, 1 + hits.sum(axis=1))
