"""The form in which factors leave this package: orthonormal columns, falling scales, fixed signs. It fits nothing."""

import numpy as np
from jaxtyping import Float

from jaxbandit.data.factorization.factors import Factors


def fix_signs(
    user: Float[np.ndarray, "U k"], item: Float[np.ndarray, "N k"]
) -> tuple[Float[np.ndarray, "U k"], Float[np.ndarray, "N k"]]:
    """Make the largest |entry| of each item column positive; which sign LAPACK returns depends on its build."""
    largest = np.abs(item).argmax(axis=0)
    sign = np.where(item[largest, np.arange(item.shape[1])] < 0, -1.0, 1.0)
    return user * sign, item * sign


def canonical(
    user: Float[np.ndarray, "U k"], item: Float[np.ndarray, "N k"]
) -> tuple[Float[np.ndarray, "U r"], Float[np.ndarray, "r"], Float[np.ndarray, "N r"]]:
    """Rewrite P Qᵀ as U diag(S) Vᵀ by a QR of each side and the SVD of the small middle, in float64.

    r is min(U, N, k). No matrix larger than the factors is formed.
    """
    user_basis, user_rest = np.linalg.qr(user.astype(np.float64))
    item_basis, item_rest = np.linalg.qr(item.astype(np.float64))
    left, scale, right = np.linalg.svd(user_rest @ item_rest.T, full_matrices=False)
    user, item = fix_signs(user_basis @ left, item_basis @ right.T)
    return user, scale, item


def with_biases(
    parts: tuple[Float[np.ndarray, "U r"], Float[np.ndarray, "r"], Float[np.ndarray, "N r"]],
    user_bias: Float[np.ndarray, "U"],
    item_bias: Float[np.ndarray, "N"],
    *,
    mean: float,
    low: float = -np.inf,
    high: float = np.inf,
) -> Factors:
    """Build the record, with the biases as two more columns: (b_u, 1) of the user and (1, b_i) of the item, scale 1."""
    user, scale, item = parts
    return Factors(
        user=np.column_stack([user, user_bias, np.ones_like(user_bias)]).astype(np.float32),
        item=np.column_stack([item, np.ones_like(item_bias), item_bias]).astype(np.float32),
        scale=np.append(scale, [1.0, 1.0]).astype(np.float32),
        mean=float(mean),
        low=float(low),
        high=float(high),
    )
