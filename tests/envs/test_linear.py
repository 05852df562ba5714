import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.envs.linear import linear, linear_per_arm
from tests.support import assert_counts, assert_mean, f64

BATCH = 20_000


def test_sliding_world_pays_theta_times_x_with_the_defaults_of_tf_agents():
    environment, params = linear()
    context, means = environment.observe(jax.random.key(0), params, (), BATCH)
    assert environment.spec[:3] == (5, 15, 0)
    theta = np.arange(5)[:, None] + np.arange(15)[None]
    np.testing.assert_allclose(means, f64(context.user) @ theta.T, rtol=1e-5)
    assert_counts(np.bincount(np.asarray(context.user).ravel().astype(int) + 10, minlength=20), 1 / 20)
    _, outcome = environment.respond(jax.random.key(1), params, (), context, means, jnp.full(BATCH, 2, jnp.int32))
    np.testing.assert_array_equal(outcome.expected, means[:, 2])
    # Rewards near 500 carry a rounding error of 3e-5 beside the noise of .01.
    assert_mean(f64(outcome.reward) - f64(outcome.expected), 0.0)
    assert_mean((f64(outcome.reward) - f64(outcome.expected)) ** 2, 0.01**2)


def test_normalized_world_divides_means_by_d_plus_k():
    _, plain = linear(context_dim=4, num_actions=3)
    _, normalized = linear(context_dim=4, num_actions=3, normalized=True)
    np.testing.assert_allclose(normalized.theta, plain.theta / 7, rtol=1e-6)


def test_per_arm_world_pays_a_hidden_theta_times_user_and_arm():
    environment, params = linear_per_arm()
    theta = environment.init(jax.random.key(2), params)
    context, means = environment.observe(jax.random.key(0), params, theta, BATCH)
    assert environment.spec[:3] == (7, 4, 5)
    user = np.broadcast_to(f64(context.user)[:, None], (BATCH, 7, 4))
    pairs = np.concatenate([user, f64(context.arms)], axis=-1)
    np.testing.assert_allclose(means, pairs @ f64(theta), atol=1e-4)  # sums of nine products up to 30
    assert_counts(np.bincount(np.asarray(context.user).ravel().astype(int) + 10, minlength=20), 1 / 20)
    assert_counts(np.bincount(np.asarray(context.arms).ravel().astype(int) + 2, minlength=5), 1 / 5)
    _, outcome = environment.respond(jax.random.key(1), params, theta, context, means, jnp.zeros(BATCH, jnp.int32))
    assert_mean((f64(outcome.reward) - f64(outcome.expected)) ** 2, 1.0)


def test_each_seed_of_the_per_arm_world_has_its_own_theta_from_a_standard_normal():
    environment, params = linear_per_arm()
    thetas = f64(jax.vmap(lambda key: environment.init(key, params))(jax.random.split(jax.random.key(0), 2_000)))
    assert_mean(thetas.ravel(), 0.0)
    assert_mean(thetas.ravel() ** 2, 1.0)
