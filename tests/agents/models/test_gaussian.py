import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents.models import gaussian
from jaxbandit.agents.models.cholesky import LOOP_DIM
from jaxbandit.agents.models.gaussian import Posterior
from tests.support import f64, normal

DIMS = (1, 2, 7, 25, LOOP_DIM, LOOP_DIM + 1, 100)


def learned(dim: int, batch: int = 40, seed: int = 0, gamma: float = 1.0) -> tuple[Posterior, jax.Array, jax.Array]:
    """Posterior after one batch, with its features and rewards."""
    x, reward = normal(seed, batch, dim), normal(seed + 1, batch)
    return gaussian.update(gaussian.init(dim), x, reward, jnp.ones(batch), gamma), x, reward


@pytest.mark.parametrize("dim", DIMS)
def test_solve_and_predict_agree_with_numpy(dim):
    state, x, reward = learned(dim)
    solution = gaussian.solve(state, 0.5)
    x64 = f64(x)
    matrix = x64.T @ x64 + 0.5 * np.eye(dim)
    theta = np.linalg.solve(matrix, x64.T @ f64(reward))
    inverse = np.linalg.inv(matrix)
    mean, variance = gaussian.predict(solution, x)
    # The condition number is below 600 here, so float32 keeps more than four digits.
    np.testing.assert_allclose(solution.mean, theta, atol=1e-4)
    np.testing.assert_allclose(mean, x64 @ theta, atol=2e-4)
    np.testing.assert_allclose(variance, np.einsum("bi,ij,bj->b", x64, inverse, x64), rtol=2e-4)
    assert np.array_equal(solution.whitener, np.tril(solution.whitener))
    np.testing.assert_allclose(f64(solution.whitener).T @ f64(solution.whitener), inverse, atol=1e-4)


@pytest.mark.parametrize("dim", [3, LOOP_DIM + 1])
def test_many_models_are_solved_as_one_by_one(dim):
    states = [learned(dim, seed=seed)[0] for seed in range(3)]
    together = gaussian.solve(jax.tree.map(lambda *x: jnp.stack(x), *states), 0.5)
    for k, state in enumerate(states):
        alone = gaussian.solve(state, 0.5)
        # Equal up to the order in which a batched kernel sums.
        np.testing.assert_allclose(together.mean[k], alone.mean, atol=1e-5)
        np.testing.assert_allclose(together.whitener[k], alone.whitener, atol=1e-5)


def test_update_on_a_batch_equals_updates_one_by_one():
    batch, x, reward = learned(6)
    single = gaussian.init(6)
    for row, paid in zip(x, reward, strict=True):
        single = gaussian.update(single, row[None], paid[None], jnp.ones(1))
    # Sums of 40 products of order 1 in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), batch, single)


def test_update_by_parts_of_the_features_equals_an_update_by_the_whole():
    x, reward, weight = normal(0, 40, 7), normal(1, 40), jnp.abs(normal(2, 40))
    old = learned(7, seed=3)[0]
    whole = gaussian.update(old, x, reward, weight, 0.9)
    parts = gaussian.update(old, (x[:, :4], x[:, 4:5], x[:, 5:]), reward, weight, 0.9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), whole, parts)


def test_update_each_equals_an_update_of_each_model_with_its_rows():
    x, reward, weight = normal(0, 40, 5), normal(1, 40), jnp.abs(normal(2, 40))
    model = jnp.arange(40) % 3
    old = jax.tree.map(lambda *rows: jnp.stack(rows), *[learned(5, seed=s)[0] for s in range(4)])
    new = gaussian.update_each(old, model, x, reward, weight, 0.9)
    for k in range(4):
        mine = model == k
        alone = gaussian.update(jax.tree.map(lambda s, k=k: s[k], old), x[mine], reward[mine], weight[mine], 0.9)
        jax.tree.map(lambda a, b, k=k: np.testing.assert_allclose(a[k], b, atol=3e-5), new, alone)


def test_gamma_forgets_once_per_update_on_every_model_ever_pulled():
    x, reward = normal(0, 8, 3), normal(1, 8)
    first = gaussian.update_each(gaussian.init(3, 2), jnp.zeros(8, jnp.int32), x, reward, jnp.ones(8))
    second = gaussian.update_each(first, jnp.ones(8, jnp.int32), x, reward, jnp.ones(8), 0.5)
    np.testing.assert_allclose(second.precision[0], 0.5 * first.precision[0], rtol=1e-6)
    np.testing.assert_allclose(second.moment[0], 0.5 * first.moment[0], rtol=1e-6)
    np.testing.assert_allclose(second.precision[1], first.precision[0], rtol=1e-6)
    np.testing.assert_array_equal(second.pulls, [8, 8])


def test_an_update_of_weight_zero_changes_nothing():
    state, x, reward = learned(4)
    same = gaussian.update(state, x, reward, jnp.zeros(40))
    each = gaussian.update_each(
        jax.tree.map(lambda s: s[None], state), jnp.zeros(40, jnp.int32), x, reward, jnp.zeros(40)
    )
    jax.tree.map(np.testing.assert_array_equal, same, state)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), each, state)


def test_a_weight_counts_as_that_many_observations():
    x, reward = normal(0, 10, 4), normal(1, 10)
    weight = np.arange(10) % 3
    rows = np.repeat(np.arange(10), weight)
    weighted = gaussian.update(gaussian.init(4), x, reward, jnp.asarray(weight, jnp.float32))
    repeated = gaussian.update(gaussian.init(4), x[rows], reward[rows], jnp.ones(9))
    np.testing.assert_allclose(weighted.precision, repeated.precision, atol=1e-5)
    np.testing.assert_allclose(weighted.moment, repeated.moment, atol=1e-5)


def spread_out(dim: int, largest: float) -> np.ndarray:
    """Precision matrix with eigenvalues from 0 to `largest`, float32."""
    basis = np.linalg.qr(f64(normal(3, dim, dim)))[0]
    values = np.r_[np.zeros(1), np.geomspace(1e-3, largest, dim - 1)]
    return (basis * values @ basis.T).astype(np.float32)


@pytest.mark.parametrize("dim", [10, LOOP_DIM + 6])
def test_an_ill_conditioned_precision_gives_a_bounded_error(dim):
    precision = spread_out(dim, 1e4)
    theta = normal(4, dim)
    moment = (f64(precision) @ f64(theta)).astype(np.float32)
    solution = gaussian.solve(Posterior(jnp.asarray(precision), jnp.asarray(moment), jnp.ones(())), 1e-3)
    mean, variance = gaussian.predict(solution, jnp.eye(dim))
    assert np.all(np.isfinite(mean))
    assert np.all(np.isfinite(variance))
    assert np.all(variance >= 0)
    # What is well determined is found: residuals are small against |M||theta|, whatever the condition number (1e7).
    residual = f64(precision) @ f64(mean) - moment
    assert np.linalg.norm(residual) <= 1e-3 * 1e4 * np.linalg.norm(theta)


@pytest.mark.parametrize("dim", [4, LOOP_DIM + 6])
@pytest.mark.parametrize("ridge", [1.0, 1e-3])
def test_features_that_repeat_each_other_keep_the_solution_finite(dim, ridge):
    # Two constant columns, a million observations: the smallest eigenvalue is the ridge, the largest 2e6, and rounding
    # of A alone is worth 0.1.
    x = normal(5, 1000, dim).at[:, :2].set(1.0)
    state = gaussian.update(gaussian.init(dim), x, x[:, 2], jnp.full(1000, 1000.0))
    mean, variance = gaussian.predict(gaussian.solve(state, ridge), x[:8])
    assert np.all(np.isfinite(mean))
    assert np.all(np.isfinite(variance))
    assert np.all(variance >= 0)
    np.testing.assert_allclose(mean, x[:8, 2], atol=1e-2)


def test_sampled_parameters_have_the_posterior_covariance():
    state, x, _ = learned(3, batch=20)
    solution = gaussian.solve(state, 1.0)
    draws = f64(gaussian.sample(solution, normal(7, 20_000, 3)))
    covariance = np.linalg.inv(f64(x).T @ f64(x) + np.eye(3))
    products = draws[:, :, None] * draws[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(draws))
    assert np.all(abs(products.mean(axis=0) - covariance) <= 4 * error)
    assert np.all(abs(draws.mean(axis=0)) <= 4 * draws.std(axis=0) / np.sqrt(len(draws)))


@pytest.mark.parametrize("num_models", [3, 100])
def test_variances_of_lanes_are_those_of_each_alone(num_models):
    rows, whitener = normal(0, 5, 40, 7), jnp.tril(normal(1, 5, 2, num_models, 7, 7))
    assert (40 * num_models * 7 >= gaussian.CACHED) == (num_models == 100)
    solutions = gaussian.Solution(jnp.zeros(whitener.shape[:-1]), whitener)
    variance = jax.vmap(jax.vmap(gaussian.variance_each, (0, None)))(solutions, rows)
    expected = np.einsum("rckij,rbj->rcbki", np.asarray(whitener, np.float64), np.asarray(rows, np.float64)) ** 2
    np.testing.assert_allclose(variance, expected.sum(axis=-1), rtol=1e-4)
