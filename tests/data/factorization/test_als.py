from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit._core.errors import InputError
from jaxbandit.data.factorization.als import als, fit, half_sweep, solve_block
from jaxbandit.data.factorization.als_blocks import CHUNK, block_size, cut


def long_rows(from_dense):
    """80 users x 70 items: rows of one rating to 70, so that rows of one, two and three chunks are among them."""
    rng = np.random.default_rng(7)
    dense = rng.integers(1, 6, (80, 70)).astype(float)
    known = rng.random((80, 70)) < np.linspace(0.02, 1.0, 80)[:, None]
    known[-1] = True
    known[:, 5] = False
    known[4] = False
    return from_dense(dense, known, low=1.0, high=5.0)


def objective(ratings, mean, user, item, ridge):
    p, q = user.astype(np.float64)[ratings.user], item.astype(np.float64)[ratings.item]
    error = ratings.rating - mean - p[:, -1] - q[:, -1] - (p[:, :-1] * q[:, :-1]).sum(axis=1)
    return error @ error + ridge * (p**2).sum() + ridge * (q**2).sum()  # once per rating: the weights n


def ridge_solutions(ratings, fixed, ridge, mean, num_rows):
    """Solve each user's ridge regression on (q, 1) alone, in float64."""
    solved = np.zeros((num_rows, fixed.shape[1]))
    for user in np.unique(ratings.user):
        mine = ratings.user == user
        q = fixed.astype(np.float64)[ratings.item[mine]]
        z = np.column_stack([q[:, :-1], np.ones(len(q))])
        system = z.T @ z + ridge * len(q) * np.eye(z.shape[1])
        solved[user] = np.linalg.solve(system, z.T @ (ratings.rating[mine] - mean - q[:, -1]))
    return solved


@pytest.mark.parametrize("size", [4, 16, 256])
def test_half_sweep_equals_one_float64_ridge_solve_per_row(from_dense, size):
    ratings = long_rows(from_dense)
    fixed = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32)
    mean = float(ratings.rating.mean())
    blocks = list(cut(ratings.user, ratings.item, ratings.rating - np.float32(mean), 80, size))
    solved = half_sweep(jnp.asarray(fixed), jnp.zeros((80, 6), jnp.float32), blocks, 0.1)
    # float32 Cholesky: 1e-7 times a condition of at most |z|²/ridge ~ 100, on values of size 1.
    np.testing.assert_allclose(solved, ridge_solutions(ratings, fixed, 0.1, mean, 80), atol=5e-5)


def test_objective_falls_with_every_sweep(world):
    values = [objective(world, *fit(world, 4, 0.05, sweeps), 0.05) for sweeps in range(1, 9)]
    steps = np.diff(values)
    assert np.all(steps <= 1e-6 * values[0]), values  # float32 rounding of the solutions near the minimum
    assert steps[0] < -0.01 * values[0]


def test_items_of_a_fit_are_the_ridge_solutions_for_its_users(world):
    mean, user, item = fit(world, 3, 0.1, 3)
    by_item = replace(world, user=world.item, item=world.user)
    np.testing.assert_allclose(item, ridge_solutions(by_item, user, 0.1, mean, 45), atol=5e-5)


def test_als_recovers_a_fully_observed_matrix_of_low_rank_when_ridge_is_small(from_dense):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30)) + rng.standard_normal(30)
    factors = als(from_dense(dense), 3, ridge=1e-6, sweeps=50)
    user, item = np.divmod(np.arange(40 * 30), 30)
    # What the ridge shrinks is in proportion to it: 0.02 at 1e-4, 0.0025 at 1e-5, then float32.
    np.testing.assert_allclose(factors.predict(user, item).reshape(40, 30), dense, atol=2e-3)


def test_als_predicts_what_its_rows_predict(world):
    mean, user, item = fit(world, 4, 0.1, 3)
    factors = als(world, 4, sweeps=3)
    expected = mean + user[:, -1:] + item[:, -1] + user[:, :-1] @ item[:, :-1].T
    u, i = np.divmod(np.arange(60 * 45), 45)
    np.testing.assert_allclose(factors.predict(u, i), np.clip(expected, 1, 5).ravel(), atol=1e-5)
    assert factors.user.shape == (60, 6)
    assert np.all(np.diff(factors.scale[:-2]) <= 0)
    assert np.all(factors.item[np.abs(factors.item[:, :4]).argmax(axis=0), np.arange(4)] > 0)


def test_rows_without_ratings_are_zero(from_dense):
    ratings = long_rows(from_dense)
    _, user, item = fit(ratings, 3, 0.1, 2)
    assert not user[4].any()
    assert not item[5].any()
    np.testing.assert_array_equal(user.any(axis=1), np.bincount(ratings.user, minlength=80) > 0)
    np.testing.assert_array_equal(item.any(axis=1), np.bincount(ratings.item, minlength=70) > 0)


def test_another_fit_of_the_same_size_and_another_ridge_compile_nothing(world):
    fit(world, 4, 0.1, 1)
    before = solve_block._cache_size()
    fit(world, 4, 0.2, 2)
    assert solve_block._cache_size() == before


@given(st.integers(0, 2**31), st.sampled_from([4, 8, 64]))
@settings(max_examples=30, deadline=None)
def test_blocks_hold_every_rating_once_and_whole_rows(seed, size):
    rng = np.random.default_rng(seed)
    pairs = np.flatnonzero(rng.random(40 * 100) < rng.random(40).repeat(100))
    if len(pairs) == 0:
        pairs = np.array([7])
    row, column = np.divmod(rng.permutation(pairs).astype(np.int32), 100)
    rating = rng.standard_normal(len(row)).astype(np.float32)
    blocks = list(cut(row, column, rating, 40, size))
    seen, rows = [], []
    for block in blocks:
        chunk, slot = np.nonzero(block.column >= 0)
        owner = block.row[block.segment[chunk]]
        seen += zip(owner.tolist(), block.column[chunk, slot].tolist(), block.rating[chunk, slot].tolist(), strict=True)
        rows += block.row[block.row < 40].tolist()
        assert block.column.shape == (size, CHUNK)
        assert np.all(np.diff(block.segment) >= 0)
    assert sorted(seen) == sorted(zip(row.tolist(), column.tolist(), rating.tolist(), strict=True))
    assert rows == np.unique(row).tolist()


def test_block_size_holds_the_longest_row_of_either_side():
    one_row, many_rows = np.zeros(CHUNK * 1500, np.int32), np.arange(CHUNK * 1500, dtype=np.int32)
    assert block_size(many_rows, one_row) == 2048
    assert block_size(many_rows, many_rows) == 1024
    assert block_size(one_row[:5], many_rows[:5]) == 8


@pytest.mark.parametrize(
    ("setting", "message"), [({"ridge": 0.0}, "ridge = 0.0: must be above 0"), ({"sweeps": 0}, "sweeps = 0: must be")]
)
def test_als_refuses_settings_out_of_range(world, setting, message):
    with pytest.raises(InputError, match=message):
        als(world, 2, **setting)
