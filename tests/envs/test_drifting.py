"""Worlds that change: what stays, what moves and how far, and that all configurations of a seed see the same change."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.envs.drifting import drifting_linear, piecewise
from jaxbandit.envs.matrix_factorization.worlds import mf_per_arm
from jaxbandit.simulation import lanes as sweep
from tests.support import assert_mean, f64, make_agent, small_ratings

DIM, ARMS, BATCH = 3, 2, 4


@cache
def states(make, rounds: int, seeds: int, action: int = 0, **settings):
    """States of a world before each of its rounds, [rounds + 1, seeds, ...]."""
    environment, params = make(context_dim=DIM, num_actions=ARMS, **settings)

    def play(key):
        def step(state, key):
            context, means = environment.observe(key, params, state, BATCH)
            after = environment.respond(key, params, state, context, means, jnp.full(BATCH, action, jnp.int32))[0]
            return after, state

        last, before = jax.lax.scan(step, environment.init(key, params), jax.random.split(key, rounds))
        return jax.tree.map(lambda before, last: jnp.concatenate([before, last[None]]), before, last)

    return jax.jit(jax.vmap(play, out_axes=1))(jax.random.split(jax.random.key(0), seeds))


@pytest.mark.parametrize("make", [drifting_linear, piecewise])
def test_a_changing_world_pays_theta_times_x_with_its_noise(make):
    environment, params = make(sigma=0.3)
    state = environment.init(jax.random.key(0), params)
    theta = f64(jax.tree.leaves(state)[0])
    context, means = environment.observe(jax.random.key(1), params, state, 20_000)
    np.testing.assert_allclose(means, f64(context.user) @ theta.T, atol=1e-5)
    assert_mean(means, 0.0)
    assert_mean(f64(means[:, 0]) ** 2, 1.0)  # unit vectors
    action = jnp.zeros(20_000, jnp.int32)
    _, outcome = environment.respond(jax.random.key(2), params, state, context, means, action)
    np.testing.assert_array_equal(outcome.expected, means[:, 0])
    assert_mean((f64(outcome.reward) - f64(outcome.expected)) ** 2, 0.09)


def test_one_round_turns_all_thetas_by_the_angle_in_a_plane_of_two_coordinates():
    theta = f64(states(drifting_linear, 1, 500, angle=40.0))
    np.testing.assert_allclose(np.linalg.norm(theta, axis=-1), 1, atol=1e-6)
    between = np.einsum("tsd,tsd->ts", theta[:, :, 0], theta[:, :, 1])
    np.testing.assert_allclose(between[0], between[1], atol=1e-6)
    moved = ~np.isclose(theta[0], theta[1], atol=1e-7).all(axis=1)
    assert np.all(moved.sum(axis=-1) == 2)
    plane = np.where(moved[:, None], theta, 0)
    cos = np.sum(plane[0] * plane[1], axis=-1) / np.sum(plane[0] ** 2, axis=-1)
    np.testing.assert_allclose(cos, np.cos(np.deg2rad(40)), atol=1e-3)


def test_after_n_rounds_theta_is_expected_where_the_closed_form_says():
    rounds, angle = 4, 60.0
    theta = f64(states(drifting_linear, rounds, 4_000, angle=angle))
    kept = (1 - 2 / DIM * (1 - np.cos(np.deg2rad(angle)))) ** rounds
    assert_mean(np.sum(theta[0] * theta[-1], axis=-1)[:, 0], kept)
    # The part beside theta(0) points nowhere on average: the turns go either way round.
    aside = theta[-1, :, 0] - kept * theta[0, :, 0]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        assert_mean(theta[0, :, 0, i] * aside[:, j], 0.0)


def test_theta_of_the_piecewise_world_stays_for_a_period_and_is_then_drawn_anew():
    theta = f64(states(piecewise, 9, 2_000, period=3).theta)
    for start in (0, 3, 6):
        np.testing.assert_array_equal(theta[start], theta[start + 1])
        np.testing.assert_array_equal(theta[start], theta[start + 2])
        assert_mean(np.sum(theta[start] * theta[start + 3], axis=-1), 0.0)
        assert not np.any(np.all(theta[start] == theta[start + 3], axis=-1))
    np.testing.assert_allclose(np.linalg.norm(theta, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize(("make", "settings"), [(drifting_linear, {"angle": 40.0}), (piecewise, {"period": 3})])
def test_changes_do_not_depend_on_actions(make, settings):
    one, other = (states(make, 9, 3, action=action, **settings) for action in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_angle_of_zero_is_the_stationary_world():
    theta = f64(states(drifting_linear, 5, 3, angle=0.0))
    np.testing.assert_allclose(theta[0], theta[-1], atol=1e-6)


SHARED = {
    "drifting-linear": lambda: drifting_linear(context_dim=DIM),
    "piecewise": lambda: piecewise(context_dim=DIM, period=2),
    "mf-per-arm": lambda: mf_per_arm(small_ratings(), num_actions=5, rank_k=3, factorizer="svd", user_drift=0.1),
}


@pytest.mark.parametrize("name", SHARED)
def test_the_configurations_of_a_seed_share_the_changing_state(name):
    environment, params = SHARED[name]()
    simulation = sweep.Simulation(environment, params, make_agent("linucb", environment), {"alpha": jnp.ones(3)}, BATCH)
    lanes = sweep.compile_lanes(jax.random.key(0), simulation, num_seeds=2, num_points=1)
    begun = jax.tree.map(np.asarray, lanes.begin().environment)
    carry, metrics = lanes.advance(lanes.begin(), np.array([0, 5], np.int32))
    one = jax.eval_shape(environment.init, jax.random.key(0), params)
    assert [x.shape for x in jax.tree.leaves(carry.environment)] == [(2, *x.shape) for x in jax.tree.leaves(one)]
    assert metrics.regret.shape == (2, 3, 1)
    assert not np.array_equal(jax.tree.leaves(begun)[0], jax.tree.leaves(carry.environment)[0])
