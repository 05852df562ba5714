"""The record that every factoriser returns. It factorises nothing itself."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Factors:
    """Approximate rating of every pair: clip(mean + sum_j user[u, j] * scale[j] * item[i, j], low, high).

    Biases, where a factoriser has them, are two more columns: (b_u, 1) of the user and (1, b_i) of the item, scale 1.
    So r is `rank_k` without and `rank_k + 2` with biases, and every reward is linear in the product user * item.
    """

    user: np.ndarray  # [U, r] float32
    item: np.ndarray  # [N, r] float32
    scale: np.ndarray  # [r] float32
    mean: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    heldout_rmse: float | None = None  # on the seeded split that `factorize` names
    truth_correlation: float | None = None  # with the true utilities over all pairs, for generated data

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Approximate ratings of pairs given as two index arrays [R], in float32."""
        score = np.einsum("rk,rk->r", self.user[user] * self.scale, self.item[item])
        return np.clip(self.mean + score, self.low, self.high)
