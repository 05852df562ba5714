"""Numbers of the reference's worlds: MovieLens 100K, and what linear agents can and cannot learn there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents.models import gaussian
from jaxbandit.envs.matrix_factorization.worlds import mf, mf_per_arm
from tests.support import f64, make_agent, one_lane, small_ratings


def test_fixed_arms_of_ml_100k_have_the_numbers_of_the_reference(ml_100k):
    environment, params = mf(ml_100k, num_actions=20, rank_k=20, factorizer="svd")
    assert len(params.user) == 737
    _, means = environment.observe(jax.random.key(0), params, (), 737)
    # Every user once, so there is no sampling error: four decimals as published.
    assert means.max(axis=1).mean() == pytest.approx(4.5726, abs=1e-4)
    assert means.mean(axis=0).max() == pytest.approx(2.3786, abs=1e-4)
    assert means.mean(axis=0).argmax() == 0
    assert means.mean() == pytest.approx(0.8775, abs=1e-4)


@pytest.fixture(scope="module")
def per_arm(ml_100k):
    return mf_per_arm(ml_100k, num_actions=20, rank_k=20, factorizer="svd")


def test_per_arm_ml_100k_has_the_numbers_of_the_reference(per_arm):
    environment, params = per_arm
    context, means = environment.observe(jax.random.key(0), params, (), 20_000)
    popular = params.catalogue.features @ params.user_reward.mean(axis=0)
    best_linear = jnp.argmax(popular[context.arm_id], axis=1)
    for values, published in (
        (means.mean(axis=1), 0.224),
        (means.max(axis=1), 1.702),
        (jnp.take_along_axis(means, best_linear[:, None], axis=1), 1.145),
    ):
        error = f64(values).std() / np.sqrt(20_000)
        assert abs(f64(values).mean() - published) <= 4 * error + 5e-4  # published to three decimals


def curve(environment, params, name: str, rounds: int, batch: int, **settings):
    """End of one simulation, and the means of its rounds in the first and in the second half."""
    traced = {key: jnp.float32(settings.pop(key)) for key in ("alpha", "tikhonov_weight")}
    run = one_lane(environment, params, make_agent(name, environment, **settings), batch)
    carry, sums = run(jax.random.key(0), traced, np.array([0, rounds // 2, rounds], np.int32))
    return carry, jax.tree.map(lambda x: f64(x) / (rounds / 2), sums)


def test_concat_features_plateau_just_below_the_best_linear_policy(per_arm):
    _, means = curve(*per_arm, "linucb", 1_200, 64, alpha=0.1, tikhonov_weight=0.001, features="concat")
    # It learns item popularity and no more: far from the optimum 1.702. The best linear policy, from a fit to all
    # pairs, earns 1.145; one that learns from the arms it chose itself sees a biased sample and stays a bit below.
    assert 0.92 * 1.145 < means.average_return[-1] < 1.145 + 0.01
    assert abs(means.average_return[-1] - means.average_return[0]) < 0.05


def test_hadamard_features_learn_the_reference_world(per_arm):
    _environment, params = per_arm
    carry, means = curve(*per_arm, "linucb", 1_200, 64, alpha=1.0, tikhonov_weight=0.001, features="hadamard")
    uniform = means.optimal[-1] - means.uniform[-1]
    assert means.regret[-1] < 0.02 * uniform
    scale = f64(params.user_reward)[0] / f64(params.user)[0]
    theta = f64(gaussian.solve(carry.agent, 0.001).mean)
    np.testing.assert_allclose(theta, scale, rtol=0.02)


@pytest.mark.parametrize("name", ["linucb", "lints"])
def test_hadamard_features_drive_regret_to_nothing_and_recover_the_singular_values(name):
    environment, params = mf_per_arm(small_ratings(), num_actions=10, rank_k=4, factorizer="svd")
    settings = {"alpha": 1.0, "tikhonov_weight": 0.001, "features": "hadamard"}
    carry, means = curve(environment, params, name, 600, 32, **settings)
    assert means.regret[-1] < 0.02 * (means.optimal[-1] - means.uniform[-1])
    scale = f64(params.user_reward)[0] / f64(params.user)[0]
    np.testing.assert_allclose(f64(gaussian.solve(carry.agent, 0.001).mean), scale, rtol=0.01)
