"""Textbook LinUCB and LinTS in float64 NumPy, one user and one arm at a time. It shares no code with the package."""

import numpy as np


def joint(kind: str, add_bias: bool, u: np.ndarray, v: np.ndarray | None) -> np.ndarray:
    """Features of one user and one arm; without arm features those of the user."""
    bias = [1.0] if add_bias else []
    if v is None:
        return np.r_[u, bias]
    return {"concat": np.r_[u, bias, v], "hadamard": np.r_[u * v, bias] if len(u) == len(v) else None}.get(
        kind, np.outer(np.r_[1, u], np.r_[1, v]).ravel()
    )


class Linear:
    """One model for each arm (disjoint), or one for all (num_models = 1: shared)."""

    def __init__(self, num_models: int, dim: int, ridge: float, gamma: float):
        self.A, self.b, self.n = np.zeros((num_models, dim, dim)), np.zeros((num_models, dim)), np.zeros(num_models)
        self.ridge, self.gamma = ridge, gamma

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return theta and M of each model."""
        M = self.A + self.ridge * np.eye(self.b.shape[1])
        return np.linalg.solve(M, self.b[..., None])[..., 0], M

    def update(self, model: np.ndarray, x: np.ndarray, reward: np.ndarray, weight: np.ndarray) -> None:
        """Learn from a batch."""
        for k in range(len(self.n)):
            self.n[k] += np.sum((model == k) & (weight > 0))
            if self.n[k] > 0:
                self.A[k] *= self.gamma
                self.b[k] *= self.gamma
        for k, row, r, w in zip(model, x, reward, weight, strict=True):
            self.A[k] += w * np.outer(row, row)
            self.b[k] += w * r * row


def score(
    rule: str, alpha: float, x: np.ndarray, model: np.ndarray, theta: np.ndarray, M: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and score of each arm of one user, x [K, d]; noise [K] of each arm ("arm") or [models, d]."""
    mean = np.einsum("kd,kd->k", x, theta[model])
    variance = np.array([row @ np.linalg.solve(M[k], row) for row, k in zip(x, model, strict=True)])
    if rule == "ucb":
        return mean, variance, mean + alpha * np.sqrt(variance)
    if rule == "arm":
        return mean, variance, mean + alpha * np.sqrt(variance) * noise
    draw = [np.linalg.solve(np.linalg.cholesky(matrix).T, z) for matrix, z in zip(M, noise, strict=True)]
    return mean, variance, np.einsum("kd,kd->k", x, (theta + alpha * np.array(draw))[model])
