"""The reward model q(x, a) of off-policy estimates: ridge regression of logged rewards. Knows no policies.

With features z of context x and action a, q(x, a) = m + z·theta, where m is the mean of the logged rewards r and

    theta = (sum z zᵀ + RIDGE I)⁻¹ sum z (r - m)

over the interactions of the other fold: an interaction is never predicted by a fit that saw it (cross-fitting). Fixed
arms have a theta each and z = [1; u], with the user's features u. Arms with features v share one theta with
z = [1; u] ⊗ [1; v], or z = [1; u; v] where that has more than WIDEST entries. Each seed may have a world of its own, so
each has its own fits. NumPy, float64.

Sources: Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
https://doi.org/10.1080/00401706.1970.10488634. Cross-fitting: Chernozhukov, Chetverikov, Demirer, Duflo, Hansen, Newey
and Robins 2018, "Double/Debiased Machine Learning for Treatment and Structural Parameters",
https://arxiv.org/abs/1608.00060
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

FOLDS = 2
RIDGE = 1.0
WIDEST = 1000  # entries of [1; u] ⊗ [1; v]
Kind = Literal["disjoint", "outer", "concat"]


class RewardModel:
    """Sums of S seeds and FOLDS folds: `add` all interactions, `solve` once, then `predict`."""

    def __init__(self, num_seeds: int, num_actions: int, user_dim: int, arm_dim: int) -> None:
        """Make a model of no interactions."""
        outer = (1 + user_dim) * (1 + arm_dim)
        self.kind: Kind = "disjoint" if arm_dim == 0 else "outer" if outer <= WIDEST else "concat"
        self.dim = {"disjoint": 1 + user_dim, "outer": outer, "concat": 1 + user_dim + arm_dim}[self.kind]
        self.num_models = num_actions if arm_dim == 0 else 1
        shape = (num_seeds, FOLDS, self.num_models, self.dim)
        self.gram, self.moment = np.zeros((*shape, self.dim)), np.zeros(shape)
        self.mean, self.theta = np.zeros(shape[:2]), np.empty(0)

    def add(
        self,
        seed: np.ndarray,
        fold: np.ndarray,
        user: np.ndarray,
        arms: np.ndarray | None,
        action: np.ndarray,
        reward: np.ndarray,
    ) -> None:
        """Add interactions: their seeds and folds [n], users [n, Du], arms taken [n, Da], actions and rewards [n]."""
        x = self._joint(_with_one(user), arms)
        model = action if self.num_models > 1 else np.zeros_like(action)
        for rows, (s, f, m) in _groups(seed, fold, model):
            self.gram[s, f, m] += x[rows].T @ x[rows]
            self.moment[s, f, m] += x[rows].T @ reward[rows].astype(np.float64)

    def solve(self) -> None:
        """Fit the model of each fold to the interactions of the others.

        The mean m is subtracted first, since the ridge shrinks the coefficient of the constant, too.
        """
        self.theta = np.empty_like(self.moment)
        for s in range(len(self.gram)):  # one by one: the Gram matrices are what is large
            gram = self.gram[s].sum(axis=0) - self.gram[s]
            moment = self.moment[s].sum(axis=0) - self.moment[s]
            # The first feature is the constant 1: its products are sums of rewards and numbers of interactions.
            self.mean[s] = moment[..., 0].sum(axis=-1) / np.maximum(gram[..., 0, 0].sum(axis=-1), 1)
            moment -= self.mean[s, :, None, None] * gram[..., 0, :]
            gram[..., np.arange(self.dim), np.arange(self.dim)] += RIDGE
            self.theta[s] = np.linalg.solve(gram, moment[..., None])[..., 0]

    def predict(self, seed: np.ndarray, fold: np.ndarray, user: np.ndarray, arms: np.ndarray | None) -> np.ndarray:
        """Predict the rewards of all offered arms: users [n, Du], arms [n, K, Da] or [1, K, Da] -> [n, K]."""
        z, dim_u = _with_one(user), 1 + user.shape[1]
        reward = np.empty((len(z), self.num_models if arms is None else arms.shape[1]))
        for rows, (s, f) in _groups(seed, fold):
            theta, mean = self.theta[s, f], self.mean[s, f]
            if arms is None:
                reward[rows] = z[rows] @ theta.T + mean
                continue
            offered = arms if len(arms) == 1 else arms[rows]
            if self.kind == "outer":
                line = z[rows] @ theta[0].reshape(dim_u, -1)
                slope, constant = line[:, 1:], line[:, :1]
            else:
                slope, constant = theta[:, dim_u:], (z[rows] @ theta[0, :dim_u])[:, None]
            reward[rows] = np.matmul(offered, slope[:, :, None])[..., 0] + constant + mean
        return reward

    def _joint(self, user: np.ndarray, arms: np.ndarray | None) -> np.ndarray:
        """Make z of users [n, 1 + Du] and the arms that they took [n, Da]."""
        if arms is None:
            return user
        if self.kind == "concat":
            return np.concatenate([user, arms], axis=1)
        return (user[:, :, None] * _with_one(arms)[:, None]).reshape(len(user), -1)


def _with_one(columns: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(columns), 1)), columns], axis=1)


def _groups(*keys: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    """Yield the rows [n] that have the same keys, and those keys."""
    order = np.lexsort(keys[::-1])
    table = np.stack(keys, axis=1)[order]
    starts = np.flatnonzero(np.any(np.diff(table, axis=0, prepend=table[:1] - 1), axis=1))
    for rows in np.split(order, starts[1:]):
        yield rows, tuple(int(key[rows[0]]) for key in keys)
