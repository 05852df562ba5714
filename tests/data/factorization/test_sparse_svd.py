import numpy as np
import pytest

from jaxbandit.data.factorization.sparse_svd import Coo, sparse_svd


def coo(dense):
    row, col = np.nonzero(dense)
    return Coo(row, col, dense[row, col], dense.shape)


def assert_leading_triplets(dense, rank):
    user, scale, item = sparse_svd(coo(dense), rank)
    expected = np.linalg.svd(dense, compute_uv=False)[:rank]
    top = max(expected[0], 1e-30)
    # Residuals stop under 1e-7 of the largest value; the values' error is the residual's square over the gap.
    np.testing.assert_allclose(scale, expected, atol=1e-9 * top)
    np.testing.assert_allclose(dense.T @ user, item * scale, atol=1e-6 * top)
    np.testing.assert_allclose(item.T @ item, np.eye(rank), atol=1e-12)


@pytest.mark.parametrize("shape", [(80, 50), (50, 80), (300, 200)])
def test_sparse_svd_equals_dense_svd(shape):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal(shape) * (rng.random(shape) < 0.1)
    assert_leading_triplets(dense, 6)


def test_sparse_svd_of_every_rank_up_to_the_full_one_is_exact():
    dense = np.random.default_rng(1).standard_normal((9, 7))
    for rank in range(1, 8):
        assert_leading_triplets(dense, rank)


@pytest.mark.parametrize("rank", [2, 6, 12])
def test_repeated_singular_values_are_all_found(rank):
    block = np.random.default_rng(2).standard_normal((5, 4))
    assert_leading_triplets(np.kron(np.eye(6), block), rank)


def test_rank_above_that_of_the_matrix_gives_zero_scales():
    rng = np.random.default_rng(3)
    dense = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    _, scale, _ = sparse_svd(coo(dense), 5)
    assert scale[2:].max() < 1e-12 * scale[0]
    assert_leading_triplets(np.zeros((6, 5)), 2)


def test_two_calls_are_equal_bit_for_bit():
    matrix = coo(np.random.default_rng(4).standard_normal((30, 20)))
    for once, again in zip(sparse_svd(matrix, 3), sparse_svd(matrix, 3), strict=True):
        np.testing.assert_array_equal(once, again)
