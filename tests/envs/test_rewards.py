"""What star and binary rewards make of a rating scale."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.envs.matrix_factorization.rewards import draw_reward, mean_reward, reward_params, scale_steps
from jaxbandit.envs.matrix_factorization.worlds import mf_per_arm
from tests.support import small_ratings


def params_of(kind: str, rating: list[float] | np.ndarray, threshold: float | None = None):
    values = np.asarray(rating, np.float32)
    return reward_params(kind, 0.0, float(values.min()), float(values.max()), 0.5, values, threshold)


@pytest.mark.parametrize(
    ("rating", "steps", "pays"),
    [
        ([1, 2, 3, 4, 5], 4, [0, 0, 0, 1, 1]),
        (np.arange(0.5, 5.5, 0.5), 9, [0] * 7 + [1] * 3),
        ([0, 1, 1, 0], 1, [0, 1]),
        ([4, 5], 1, [0, 1]),
        ([-1, 1], 1, [0, 1]),
        ([0.1, 0.9, 0.5], 2, [0, 0, 1]),
        (np.arange(1, 11), 9, [0] * 7 + [1] * 3),
        ([0, 0.25], 1, [0, 1]),
    ],
)
def test_the_best_rating_pays_and_the_worst_does_not(rating, steps, pays):
    params = params_of("binary", rating)
    assert params.tail.shape == (steps + 1,)
    assert (params.tail > 0).tolist() == [bool(pay) for pay in pays]
    ends = jnp.array([[params.low, params.high]])
    np.testing.assert_array_equal(mean_reward("binary", params, ends), [[0, 1]])


def test_a_threshold_says_which_stars_pay():
    stars = [1, 2, 3, 4, 5]
    assert (params_of("binary", stars, 5.0).tail > 0).tolist() == [False] * 4 + [True]
    assert (params_of("binary", stars, 2.5).tail > 0).tolist() == [False, False, True, True, True]
    for wrong in (1.0, 5.1, -3.0):
        with pytest.raises(InputError, match=rf"reward_threshold is {wrong:g}; allowed: above 1, to 5"):
            params_of("binary", stars, wrong)
    with pytest.raises(InputError, match="reward_threshold is 3, but reward is 'star'; allowed: with reward binary"):
        params_of("star", stars, 3.0)
    environment, _ = mf_per_arm(small_ratings(), num_actions=5, rank_k=3, reward="binary", reward_threshold=5.0)
    assert environment.spec.reward_range == (0, 1)


@pytest.mark.parametrize("kind", ["star", "binary"])
def test_ratings_that_are_all_the_same_are_refused(kind):
    with pytest.raises(InputError, match=f"reward is '{kind}', but all ratings are 3"):
        params_of(kind, [3, 3])
    constant = dataclasses.replace(small_ratings(), low=1.0, high=1.0, rating=np.ones_like(small_ratings().rating))
    with pytest.raises(InputError, match="all ratings are 1"):
        mf_per_arm(constant, num_actions=5, rank_k=3, reward=kind, factorizer="residual_svd")


def test_play_counts_and_measurements_are_drawn_in_no_time():
    rng = np.random.default_rng(0)
    for rating in (np.arange(8_001), rng.random(100_000), np.array([0, 1, 100_000])):
        assert scale_steps(np.asarray(rating, np.float32), float(rating.min()), float(rating.max())) == 100
        started = time.perf_counter()
        for kind in ("star", "binary"):
            params = params_of(kind, rating)
            mean = mean_reward(kind, params, jnp.full((8, 20), params.high * 0.6))
            assert np.isfinite(mean).all()
            assert np.isfinite(draw_reward(kind, jax.random.key(0), params, mean[:, 0])).all()
        assert time.perf_counter() - started < 10


def test_means_on_a_fine_scale_are_those_of_a_binomial():
    from scipy.stats import binom

    params = params_of("binary", np.arange(101), 60.0)
    places = np.linspace(0.02, 0.98, 25)
    means = mean_reward("binary", params, jnp.asarray(100 * places[None], jnp.float32))
    np.testing.assert_allclose(means[0], binom.sf(59, 100, places), atol=2e-5)
