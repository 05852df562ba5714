import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data.factorization.svd import damped_biases, residual_svd, svd


def dense_of(factors):
    user, item = np.indices((len(factors.user), len(factors.item))).reshape(2, -1)
    return factors.predict(user, item).reshape(len(factors.user), -1)


def zero_filled(ratings):
    dense = np.zeros((ratings.num_users, ratings.num_items))
    dense[ratings.user, ratings.item] = ratings.rating
    return dense


def test_svd_equals_the_truncated_svd_of_the_zero_filled_matrix_unclipped(world):
    factors = svd(world, 5)
    left, scale, right = np.linalg.svd(zero_filled(world))
    # float32 factors of values up to 5.
    np.testing.assert_allclose(dense_of(factors), left[:, :5] * scale[:5] @ right[:5], atol=1e-5)
    np.testing.assert_allclose(factors.scale, scale[:5], rtol=1e-6)
    assert dense_of(factors).min() < world.low
    assert factors.mean == 0.0
    assert np.all(factors.item[np.abs(factors.item).argmax(axis=0), np.arange(5)] > 0)


def test_svd_at_full_rank_returns_the_ratings_with_zeros(world):
    np.testing.assert_allclose(dense_of(svd(world, 45)), zero_filled(world), atol=2e-5)


def test_svd_recovers_a_fully_observed_matrix_of_low_rank(from_dense):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((25, 3)) @ rng.standard_normal((3, 18))
    np.testing.assert_allclose(dense_of(svd(from_dense(dense), 3)), dense, atol=1e-5)


def test_damped_biases_equal_hand_computed_ones(from_dense):
    known = np.array([[True, True], [False, True]])
    mean, user_bias, item_bias = damped_biases(from_dense(np.array([[5.0, 3.0], [0.0, 1.0]]), known))
    assert mean == 3.0
    np.testing.assert_allclose(item_bias, [2 / (1 + 5), (0 - 2) / (2 + 5)], rtol=1e-15)
    # What the item biases leave: 2 - 1/3 and 2/7 of user 0, -2 + 2/7 of user 1. float64, values of size 1.
    np.testing.assert_allclose(user_bias, [(2 - 1 / 3 + 2 / 7) / (2 + 5), (-2 + 2 / 7) / (1 + 5)], rtol=1e-14)


def test_residual_svd_equals_biases_plus_the_dense_svd_of_the_residual(world):
    mean, user_bias, item_bias = damped_biases(world)
    base = mean + user_bias[:, None] + item_bias
    known = zero_filled(world) > 0
    left, scale, right = np.linalg.svd(np.where(known, zero_filled(world) - base, 0.0))
    expected = np.clip(base + left[:, :4] * scale[:4] @ right[:4], 1, 5)
    factors = residual_svd(world, 4)
    # Residuals under 1e-7 of the largest value, here some 10, then float32.
    np.testing.assert_allclose(dense_of(factors), expected, atol=2e-5)
    assert factors.scale.shape == (6,)
    assert factors.item[17].tolist() == pytest.approx([0.0] * 4 + [1.0, 0.0], abs=1e-6)


def test_svd_refuses_a_matrix_over_the_memory_bound_and_advises_als(world, monkeypatch):
    monkeypatch.setattr("jaxbandit.data.factorization.svd.DENSE_LIMIT", 60 * 45 * 8 - 1)
    with pytest.raises(InputError, match=r"'svd' needs a dense matrix of .* 60 users x 45 items.*use 'als'"):
        svd(world, 2)
