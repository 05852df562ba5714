import numpy as np
import pytest

from jaxbandit.data.factorization.factors import canonical, fix_signs, with_biases


@pytest.mark.parametrize(("num_users", "num_items", "rank"), [(30, 20, 4), (20, 30, 4), (5, 3, 3), (4, 6, 9)])
def test_canonical_form_equals_the_product_and_has_orthonormal_columns(num_users, num_items, rank):
    rng = np.random.default_rng(0)
    p, q = rng.standard_normal((num_users, rank)), rng.standard_normal((num_items, rank))
    user, scale, item = canonical(p, q)
    # float64 throughout: some tens of roundings of values below 10.
    np.testing.assert_allclose(user * scale @ item.T, p @ q.T, atol=1e-12)
    np.testing.assert_allclose(user.T @ user, np.eye(len(scale)), atol=1e-12)
    np.testing.assert_allclose(item.T @ item, np.eye(len(scale)), atol=1e-12)
    assert np.all(np.diff(scale) <= 0)
    assert len(scale) == min(num_users, num_items, rank)


def test_largest_entry_of_each_item_column_is_positive_and_the_product_stays():
    rng = np.random.default_rng(1)
    user, item = rng.standard_normal((8, 5)), rng.standard_normal((7, 5))
    new_user, new_item = fix_signs(user, item)
    assert np.all(new_item[np.abs(new_item).argmax(axis=0), np.arange(5)] > 0)
    np.testing.assert_array_equal(new_user @ np.diag(np.ones(5)) @ new_item.T, user @ item.T)
    np.testing.assert_array_equal(np.abs(new_item), np.abs(item))


def test_signs_do_not_depend_on_the_signs_that_came_in():
    rng = np.random.default_rng(2)
    user, item = rng.standard_normal((8, 5)), rng.standard_normal((7, 5))
    flip = np.array([1.0, -1.0, -1.0, 1.0, -1.0])
    for once, again in zip(fix_signs(user, item), fix_signs(user * flip, item * flip), strict=True):
        np.testing.assert_array_equal(once, again)


def test_bias_columns_predict_mean_plus_biases_plus_product_within_the_scale():
    rng = np.random.default_rng(3)
    p, q = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
    user_bias, item_bias = rng.standard_normal(6), rng.standard_normal(5)
    factors = with_biases(canonical(p, q), user_bias, item_bias, mean=3.0, low=1.0, high=5.0)
    expected = np.clip(3 + user_bias[:, None] + item_bias + p @ q.T, 1, 5)
    user, item = np.divmod(np.arange(30), 5)
    # float32: 1e-6 relative of values up to 5.
    np.testing.assert_allclose(factors.predict(user, item), expected.ravel(), atol=1e-5)
    assert factors.user.shape == (6, 4)
    assert factors.scale[-2:].tolist() == [1.0, 1.0]
