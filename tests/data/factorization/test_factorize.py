from dataclasses import replace

import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data.factorization import FACTORIZERS, factorize
from jaxbandit.data.factorization.heldout import rmse, split, truth_correlation
from jaxbandit.data.ratings import first_items

fitted = pytest.mark.parametrize("name", [name for name in FACTORIZERS if name != "truth"])
every = pytest.mark.parametrize("name", list(FACTORIZERS))


def utilities(truth):
    return truth.mean + truth.user_bias[:, None] + truth.item_bias + truth.user @ truth.item.T


@every
def test_each_factoriser_returns_finite_float32_factors_and_reports_its_error(world, name):
    factors = factorize(world, name, 3)
    for array in (factors.user, factors.item, factors.scale):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert (len(factors.user), len(factors.item)) == (60, 45)
    assert 0 < factors.heldout_rmse < 5
    assert 0 < factors.truth_correlation <= 1
    plain = factorize(world, name, 3, evaluate=False)
    assert plain.heldout_rmse is None
    np.testing.assert_array_equal(plain.user, factors.user)


def test_heldout_error_is_that_of_a_second_fit_on_the_other_ratings(world):
    train, heldout = split(world)
    expected = rmse(FACTORIZERS["als"](train, 3), heldout)
    assert factorize(world, "als", 3).heldout_rmse == expected
    assert expected > rmse(factorize(world, "als", 3), heldout)


def test_split_holds_out_a_tenth_and_shares_no_pair(world):
    train, heldout = split(world)
    pairs = [set(zip(part.user.tolist(), part.item.tolist(), strict=True)) for part in (train, heldout)]
    assert len(heldout.rating) == len(world.rating) // 10
    assert not pairs[0] & pairs[1]
    assert len(pairs[0] | pairs[1]) == len(world.rating)
    assert train.num_items == world.num_items


def test_truth_gives_the_true_utilities_unclipped(world):
    factors = factorize(world, "truth", 3)
    user, item = np.divmod(np.arange(60 * 45), 45)
    np.testing.assert_allclose(factors.predict(user, item), utilities(world.truth).ravel(), atol=1e-5)
    assert factors.truth_correlation == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(factors.item[:, :3].T @ factors.item[:, :3], np.eye(3), atol=1e-6)


@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_correlation_over_blocks_equals_numpy_over_all_pairs(world, monkeypatch, block):
    monkeypatch.setattr("jaxbandit.data.factorization.heldout.PAIRS_AT_ONCE", block)
    factors = FACTORIZERS["als"](world, 3)
    user, item = np.divmod(np.arange(60 * 45), 45)
    expected = np.corrcoef(factors.predict(user, item), utilities(world.truth).ravel())[0, 1]
    # float32 predictions, summed in another order.
    assert truth_correlation(factors, world.truth) == pytest.approx(expected, abs=1e-6)


def test_rmse_over_blocks_equals_rmse_at_once(world, monkeypatch):
    factors = FACTORIZERS["svd"](world, 3)
    at_once = rmse(factors, world)
    monkeypatch.setattr("jaxbandit.data.factorization.heldout.PAIRS_AT_ONCE", 7)
    assert rmse(factors, world) == pytest.approx(at_once, rel=1e-12)


def test_data_without_truth_have_no_truth_correlation(world):
    factors = factorize(replace(world, truth=None), "svd", 3)
    assert factors.truth_correlation is None
    assert factors.heldout_rmse is not None


def test_truth_of_real_data_is_refused(world):
    with pytest.raises(InputError, match=r"factorizer 'truth': .* small .*generated data"):
        factorize(replace(world, truth=None), "truth", 3)


def test_unknown_factoriser_is_refused_with_the_nearest_name(world):
    with pytest.raises(InputError, match=r"unknown factorizer 'asl'.*'als'.*allowed: als, residual_svd, svd, truth"):
        factorize(world, "asl")


@fitted
@pytest.mark.parametrize("rank_k", [0, -1, 46])
def test_rank_outside_the_data_is_refused_with_the_limit_and_leaves_nothing(world, own_cache, name, rank_k):
    with pytest.raises(InputError, match=rf"rank_k is {rank_k}; allowed: 1 to 45, .* 60 users and 45 items"):
        factorize(world, name, rank_k)
    assert not own_cache.exists()


@fitted
def test_rank_equal_to_the_limit_is_accepted(world, name):
    assert np.isfinite(factorize(first_items(world, 4), name, 4).user).all()


def test_first_items_keeps_users_with_a_rating_among_them_and_their_columns(world):
    with_features = replace(
        world,
        user_features=np.arange(120, dtype=np.float32).reshape(60, 2),
        item_features=np.arange(45, dtype=np.float32)[:, None],
    )
    part = first_items(with_features, 3)
    raters = np.unique(world.user[world.item < 3])
    assert 0 < len(raters) < 60
    np.testing.assert_array_equal(part.user_ids, raters)
    np.testing.assert_array_equal(part.user_features, with_features.user_features[raters])
    np.testing.assert_array_equal(part.item_features[:, 0], [0, 1, 2])
    np.testing.assert_allclose(utilities(part.truth), utilities(world.truth)[raters, :3], rtol=1e-6)
    whole = {(u, i): r for u, i, r in zip(world.user, world.item, world.rating, strict=True)}
    for user, item, rating in zip(part.user, part.item, part.rating, strict=True):
        assert whole[raters[user], item] == rating
    assert len(part.rating) == (world.item < 3).sum()


@pytest.mark.parametrize("num_items", [0, 46])
def test_first_items_refuses_more_items_than_the_data_have_or_none(world, num_items):
    with pytest.raises(InputError, match=rf"num_actions is {num_items}; allowed: 1 to 45"):
        first_items(world, num_items)


def test_first_items_refuses_items_that_nobody_rated(world, from_dense):
    ratings = from_dense(np.ones((3, 3)), np.array([[False, True, True]] * 3))
    with pytest.raises(InputError, match=r"num_actions is 1; nobody in small rated"):
        first_items(ratings, 1)
