"""The inverse factor where rounding is larger than the ridge, and all that is made of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents import hybrid, nonstationary
from jaxbandit.agents.models import gaussian
from jaxbandit.agents.models import normal_inverse_gamma as nig
from jaxbandit.agents.models.cholesky import BLOCK, LOOP_DIM, inverse_cholesky
from tests.support import f64, normal

MATRICES, EPS = 4, float(np.finfo(np.float32).eps)
factor = jax.jit(jax.vmap(inverse_cholesky, in_axes=(0, None)))


def whiteners(precision: np.ndarray, ridge: float) -> np.ndarray:
    return f64(factor((precision + ridge * np.eye(precision.shape[-1])).astype(np.float32), ridge))


def rows_of_rank(dim: int, rank: int) -> np.ndarray:
    return f64(normal(dim + rank, MATRICES, rank, dim))


@jax.jit
def summed(rows: jax.Array, rounds: int) -> jax.Array:
    """A as a run makes it: batches of eight rows, drawn anew each round, added up in float32."""

    def add(t: jax.Array, total: jax.Array) -> jax.Array:
        index = jax.random.randint(jax.random.fold_in(jax.random.key(0), t), (8,), 0, rows.shape[1])
        batch = rows[:, index]
        return total + jnp.einsum("lbi,lbj->lij", batch, batch, precision="highest")

    return jax.lax.fori_loop(0, rounds, add, jnp.zeros((*rows.shape[::2], rows.shape[2])))


def seen_error(rows: np.ndarray, precision: np.ndarray, ridge: float) -> np.ndarray:
    """Relative errors of x'M^-1x at the rows that A is made of; the truth is the inverse in their span."""
    whitener = whiteners(precision, ridge)
    assert np.all(np.isfinite(whitener))
    basis = np.linalg.svd(rows, full_matrices=False)[2]
    inner = basis @ precision @ basis.swapaxes(1, 2) + ridge * np.eye(basis.shape[1])
    inside = rows @ basis.swapaxes(1, 2)
    truth = np.sum((inside @ np.linalg.inv(inner)) * inside, axis=-1)
    return np.abs(np.sum((rows @ whitener.swapaxes(1, 2)) ** 2, axis=-1) - truth) / truth


def check(dim: int, counts: tuple[float, ...], lengths: tuple[int, ...]) -> None:
    """A of float64, and A summed in float32, over ranks and ridges."""
    for rank in {1, 3, 10, dim - 1, dim} & set(range(1, dim + 1)):
        rows = rows_of_rank(dim, rank)
        exact = [(n / rank * rows.swapaxes(1, 2) @ rows, EPS) for n in counts]
        # A sum of T terms may be off by half of T last places where all are rounded alike, as those of one row are.
        sums = [(f64(summed(rows.astype(np.float32), n)), EPS * n / 2) for n in lengths]
        for (precision, noise), ridge in itertools.product(exact + sums, (1e-6, 1e-3, 1.0, 1e3)):
            error = np.median(seen_error(rows, precision, ridge))
            # Each feature whose pivot is noise adds what noise its column has, times some ten.
            assert error < 300 * dim * noise, (dim, rank, noise, ridge, error)


@pytest.mark.parametrize("dim", [1, 2, 20, LOOP_DIM + 1])
def test_dependent_features_end_in_no_nan_and_in_the_variance_of_what_was_seen(dim):
    check(dim, (1e4, 1e6), (3000,))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 20, 40, LOOP_DIM + 1, 130])
def test_dependent_features_end_in_no_nan_for_every_rank_count_and_ridge(dim):
    check(dim, (10, 1e4, 1e6), (300, 100_000 if dim < 100 else 3000))


@pytest.mark.slow
def test_many_dependent_features_end_in_no_nan():
    check(441, (1e6,), (300,))


@pytest.mark.parametrize("dim", [10, 40, LOOP_DIM + 6])
@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_independent_features_lose_no_more_than_a_factor_of_lapack_does(dim, condition):
    basis = np.linalg.qr(f64(normal(dim, MATRICES, dim, dim)))[0]
    matrix = ((basis * np.geomspace(1, 1 / condition, dim)) @ basis.swapaxes(1, 2)).astype(np.float32)
    truth = np.linalg.inv(f64(matrix))
    lapack = np.linalg.inv(f64(jnp.linalg.cholesky(matrix)))
    errors = [np.median(np.abs(w.swapaxes(1, 2) @ w - truth)) for w in (whiteners(matrix, 0.0), lapack)]
    assert errors[0] <= 3 * errors[1]


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


def test_blocks_equal_one_loop(monkeypatch):
    matrix = normal(0, 30, LOOP_DIM)
    matrix = matrix.T @ matrix + jnp.eye(LOOP_DIM)
    whole = inverse_cholesky(matrix, 1.0)
    for columns in (20, LOOP_DIM // 2):  # a loop over four blocks, the last filled up; and two blocks
        monkeypatch.setattr("jaxbandit.agents.models.cholesky.LOOP_DIM", columns)
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


def test_models_of_dependent_features_stay_finite():
    """Also those that take products of several solutions, or factor what they are made of."""
    dim, arms, ridge = 20, 3, 1e-6
    rows = jnp.asarray(rows_of_rank(dim, 3)[0], jnp.float32)
    x, model, weight = jnp.tile(rows, (10, 1)), jnp.arange(30) % arms, jnp.full(30, 1e4)
    state = nig.init(dim, arms, ridge)
    for _ in range(3):
        state = nig.update(state, model, x, x[:, 0], weight, ridge)
        few = nig.update(state, model[:8], x[:8], x[:8, 0], weight[:8], ridge)
    results = [state, few, hybrid.predict(x, state.solution, ridge)]
    results.append(nonstationary.sandwich(x[:, None], state.solution, state.gaussian.precision, ridge))
    results.append(gaussian.predict_each(state.solution, x))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(results))
