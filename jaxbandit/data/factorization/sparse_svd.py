"""Leading singular triplets of a sparse matrix in coordinate form, by block Krylov iteration. It knows no ratings."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxbandit.data.factorization.factors import fix_signs

START_SEED = 0  # of the random first block; the result does not depend on it beyond TOLERANCE
OVERSAMPLING = 4  # columns of a block beyond the rank: the gap that sets the speed is to the (rank + 5)th value
TOLERANCE = 1e-7  # of the residual norm |Aᵀu - s v|, relative to the largest singular value
MAX_BLOCKS = 40  # limits the basis to 40 (rank + 4) vectors; ML-100K needs 15 blocks


class Coo(NamedTuple):
    """A sparse matrix of the given shape; pairs that are not listed are zero."""

    row: Int[np.ndarray, "R"]
    col: Int[np.ndarray, "R"]
    value: Float[np.ndarray, "R"]
    shape: tuple[int, int]


def _times(matrix: Coo, columns: Float[np.ndarray, "n b"]) -> Float[np.ndarray, "m b"]:
    """Multiply column by column, so that the memory beyond the result is one vector of length R."""
    row, col, value, (num_rows, _) = matrix
    product = np.empty((num_rows, columns.shape[1]))
    for j, column in enumerate(np.ascontiguousarray(columns.T)):
        product[:, j] = np.bincount(row, weights=value * column[col], minlength=num_rows)
    return product


def _orthonormal(block: Float[np.ndarray, "n b"], basis: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n b"]:
    """Return an orthonormal basis of the block's part that is orthogonal to `basis`."""
    for _ in range(2):  # the first pass leaves rounding errors along `basis`, the second removes them
        block, _ = np.linalg.qr(block - basis @ (basis.T @ block))
    return block


def sparse_svd(
    matrix: Coo, rank: int
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "k"], Float[np.ndarray, "n k"]]:
    """Compute the `rank` leading singular triplets U, S, V with fixed signs, in float64.

    Grows an orthonormal basis V of the Krylov space span(X, AᵀA X, (AᵀA)² X, …) of a random block X, and one U of A V,
    so that A V = U B, and takes the triplets of the small B, until the residuals are under TOLERANCE. A basis that
    fills the whole space is exact. The caller makes sure that 1 <= rank <= min(m, n).

    Sources: Golub, Luk and Overton 1981, "A Block Lanczos Method for Computing the Singular Values and Corresponding
    Singular Vectors of a Matrix", https://doi.org/10.1145/355945.355946. Musco and Musco 2015, "Randomized Block Krylov
    Methods for Stronger and Faster Approximate Singular Value Decomposition", Algorithm 2,
    https://arxiv.org/abs/1504.05477
    """
    transposed = Coo(matrix.col, matrix.row, matrix.value, matrix.shape[::-1])
    if matrix.shape[0] < matrix.shape[1]:  # V belongs to the shorter side, whose space is full sooner
        left, scale, right = _leading(transposed, matrix, rank)
        left, right = right, left
    else:
        left, scale, right = _leading(matrix, transposed, rank)
    user, item = fix_signs(left, right)
    return user, scale, item


def _leading(
    matrix: Coo, transposed: Coo, rank: int
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "k"], Float[np.ndarray, "n k"]]:
    num_rows, num_cols = matrix.shape
    block = np.random.default_rng(START_SEED).standard_normal((num_cols, min(rank + OVERSAMPLING, num_cols)))
    basis, image_basis, middle = np.empty((num_cols, 0)), np.empty((num_rows, 0)), np.empty((0, 0))
    for _ in range(MAX_BLOCKS):
        block = _orthonormal(block[:, : num_cols - basis.shape[1]], basis)
        basis = np.hstack([basis, block])
        image = _times(matrix, block)
        new = _orthonormal(image, image_basis)
        image_basis = np.hstack([image_basis, new])
        width = block.shape[1]
        middle = np.hstack([np.pad(middle, ((0, width), (0, 0))), image_basis.T @ image])
        left, scale, right = np.linalg.svd(middle)
        # The next block of the basis contains the residuals Aᵀu - s v, so the test costs no further product.
        back = _times(transposed, new)
        block = back - basis @ (basis.T @ back)
        residual = np.linalg.norm(block @ left[-width:, :rank], axis=0).max()
        if basis.shape[1] == num_cols or residual <= TOLERANCE * scale[0]:
            break
    return image_basis @ left[:, :rank], scale[:rank], basis @ right[:rank].T
