import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.envs.wheel import wheel
from tests.support import assert_counts, assert_mean

BATCH = 100_000
DELTAS = (0.0, 0.5, 0.95, 1.0)


def observed(delta: float):
    environment, params = wheel(delta=delta, std=0.05, rim_std=0.01)
    context, means = environment.observe(jax.random.key(0), params, (), BATCH)
    return environment, params, context, means


def respond(delta: float, action: np.ndarray | int):
    environment, params, context, means = observed(delta)
    action = jnp.broadcast_to(jnp.asarray(action, jnp.int32), (BATCH,))
    return environment.respond(jax.random.key(1), params, (), context, means, action)[1], context


@pytest.mark.parametrize("delta", DELTAS)
def test_regret_of_uniform_and_of_the_safe_arm_are_the_closed_forms(delta):
    outcome, _ = respond(delta, 0)
    rim = 1 - delta**2
    assert_mean(outcome.optimal - outcome.uniform, 0.16 * delta**2 + 39.16 * rim)
    assert_mean(outcome.optimal - outcome.expected, 48.8 * rim)


def test_users_are_uniform_in_the_unit_disk():
    _, _, context, _ = observed(0.5)
    x, y = np.asarray(context.user, np.float64).T
    assert np.all(x**2 + y**2 <= 1)
    area = np.histogram(x**2 + y**2, bins=10, range=(0, 1.000001))[0]
    assert_counts(area, 0.1)
    assert_counts(np.histogram(np.arctan2(y, x), bins=12, range=(-np.pi, np.pi))[0], 1 / 12)


def test_the_rim_pays_for_the_arm_of_the_quadrant_alone():
    _, _, context, means = observed(0.5)
    x, y = np.asarray(context.user).T
    rim = x**2 + y**2 > 0.25
    quadrant = np.select([(x >= 0) & (y >= 0), (x >= 0) & (y < 0), (x < 0) & (y >= 0)], [1, 2, 3], 4)
    expected = np.tile(np.array([1.2, 1, 1, 1, 1]), (BATCH, 1))
    expected[rim, quadrant[rim]] = 50
    off = np.abs(x**2 + y**2 - 0.25) > 1e-5  # a point on the border may round to either side
    np.testing.assert_allclose(np.asarray(means)[off], expected[off], rtol=1e-6)
    assert_counts(np.bincount(quadrant, minlength=5), np.array([0, 1, 1, 1, 1]) / 4)


@pytest.mark.parametrize(("delta", "action", "sd"), [(1.0, 0, 0.05), (1.0, 3, 0.05), (0.0, "quadrant", 0.01)])
def test_noise_has_the_standard_deviation_of_its_kind_of_reward(delta, action, sd):
    if action == "quadrant":
        action = np.argmax(np.asarray(observed(delta)[3]), axis=1)
    outcome, _ = respond(delta, action)
    noise = np.asarray(outcome.reward, np.float64) - np.asarray(outcome.expected, np.float64)
    assert_mean(noise, 0.0)
    assert_mean(noise**2, sd**2)
