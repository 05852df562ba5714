"""The inverse factor where rounding is larger than the ridge; `test_gaussian` has the accuracy of well-posed cases."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents.models.cholesky import BLOCK, LOOP_DIM, inverse_cholesky
from tests.support import f64, normal

MATRICES = 4


def whiteners(precision: np.ndarray, ridge: float) -> np.ndarray:
    matrix = precision + ridge * np.eye(precision.shape[-1])
    return f64(jax.jit(jax.vmap(lambda m: inverse_cholesky(m, ridge)))(matrix.astype(np.float32)))


def rows_of_rank(dim: int, rank: int) -> np.ndarray:
    return f64(normal(dim + rank, MATRICES, rank, dim))


def seen_error(rows: np.ndarray, precision: np.ndarray, ridge: float, whitener: np.ndarray) -> np.ndarray:
    """Relative errors of x'M^-1x at the rows that A is made of."""
    basis = np.linalg.svd(rows, full_matrices=False)[2]
    inner = basis @ precision @ basis.swapaxes(1, 2) + ridge * np.eye(basis.shape[1])
    inside = rows @ basis.swapaxes(1, 2)
    truth = np.sum((inside @ np.linalg.inv(inner)) * inside, axis=-1)
    return np.abs(np.sum((rows @ whitener.swapaxes(1, 2)) ** 2, axis=-1) - truth) / truth


@pytest.mark.parametrize("dim", [2, 20, 40, LOOP_DIM + 1])
def test_dependent_features_seen_often_give_no_nan_and_the_variance_of_what_was_seen(dim):
    for rank, count, ridge in itertools.product((1, 3, 10), (1e4, 1e6), (1e-6, 1e-3, 1.0)):
        if rank < dim:
            rows = rows_of_rank(dim, rank)
            precision = count / rank * rows.swapaxes(1, 2) @ rows
            whitener = whiteners(precision, ridge)
            assert np.all(np.isfinite(whitener)), (rank, count, ridge)
            assert np.median(seen_error(rows, precision, ridge, whitener)) < 1e-2, (rank, count, ridge)


def test_a_feature_never_seen_has_the_variance_of_the_ridge():
    rows = rows_of_rank(6, 2) * np.array([1, 1, 0, 1, 1, 0])
    whitener = whiteners(1e6 * rows.swapaxes(1, 2) @ rows, 1e-3)
    np.testing.assert_allclose(np.sum(whitener[:, :, [2, 5]] ** 2, axis=1), 1e3, rtol=1e-6)


def test_units_of_features_do_not_matter():
    rows = rows_of_rank(8, 3)
    units = 2.0 ** np.arange(-8, 8, 2)  # powers of two: every product rounds alike
    precision = 1e5 * rows.swapaxes(1, 2) @ rows
    scaled = whiteners(precision * units[:, None] * units, 0.0)
    np.testing.assert_allclose(scaled * units, whiteners(precision, 0.0), rtol=1e-6)


def test_two_halves_equal_one_loop(monkeypatch):
    matrix = normal(0, 30, LOOP_DIM)
    matrix = matrix.T @ matrix + jnp.eye(LOOP_DIM)
    whole = inverse_cholesky(matrix, 1.0)
    monkeypatch.setattr("jaxbandit.agents.models.cholesky.LOOP_DIM", 20)
    np.testing.assert_allclose(inverse_cholesky(matrix, 1.0), whole, atol=1e-5)


@pytest.mark.parametrize("lanes", [(3,), (5, 60), (BLOCK + 1,)])
def test_many_matrices_side_by_side_are_factorised_as_one_by_one(lanes):
    rows = jax.random.normal(jax.random.key(0), (*lanes, 20, 7))
    matrices, least = jnp.einsum("...ni,...nj->...ij", rows, rows), jnp.linspace(0.1, 10, lanes[0])
    together = jax.vmap(jax.vmap(inverse_cholesky, (0, None)) if lanes[1:] else inverse_cholesky)
    alone = jax.jit(inverse_cholesky)
    found = jax.jit(together)(matrices, least)
    for place in np.ndindex(*lanes):
        np.testing.assert_allclose(found[place], alone(matrices[place], least[place[0]]), atol=1e-5)
