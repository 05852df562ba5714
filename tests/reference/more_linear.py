"""Textbook hybrid, sliding-window and discounted LinUCB in float64 NumPy, one user at a time, and logistic regression.

It shares no code with the package.
"""

import numpy as np
from numpy.linalg import inv
from scipy.optimize import minimize


class Hybrid:
    """Li et al. 2010, Algorithm 2, line by line; z and x are any features of user and arm."""

    def __init__(self, num_arms: int, dim: int, dim_z: int):
        self.A0, self.b0 = np.eye(dim_z), np.zeros(dim_z)
        self.A = np.array([np.eye(dim)] * num_arms)
        self.B, self.b = np.zeros((num_arms, dim, dim_z)), np.zeros((num_arms, dim))

    def predict(self, a: int, z: np.ndarray, x: np.ndarray) -> tuple[float, float]:
        """Mean and s of one arm."""
        beta = inv(self.A0) @ self.b0
        A, B = inv(self.A[a]), self.B[a]
        theta = A @ (self.b[a] - B @ beta)
        s = z @ inv(self.A0) @ z - 2 * z @ inv(self.A0) @ B.T @ A @ x
        s += x @ A @ x + x @ A @ B @ inv(self.A0) @ B.T @ A @ x
        return z @ beta + x @ theta, s

    def update(self, a: int, z: np.ndarray, x: np.ndarray, r: float) -> None:
        """Learn from one reward."""
        self.A0 += self.B[a].T @ inv(self.A[a]) @ self.B[a]
        self.b0 += self.B[a].T @ inv(self.A[a]) @ self.b[a]
        self.A[a] += np.outer(x, x)
        self.B[a] += np.outer(x, z)
        self.b[a] += r * x
        self.A0 += np.outer(z, z) - self.B[a].T @ inv(self.A[a]) @ self.B[a]
        self.b0 += r * z - self.B[a].T @ inv(self.A[a]) @ self.b[a]


def discounted(
    history: list[tuple[np.ndarray, np.ndarray, np.ndarray]], gamma: float, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute theta and V^-1 V~ V^-1 of one model from all batches (x [n, d], r, w), each weighed by its age."""
    dim = history[0][0].shape[1]
    V, V2, b = ridge * np.eye(dim), ridge * np.eye(dim), np.zeros(dim)
    for age, (x, r, w) in enumerate(reversed(history)):
        V += gamma**age * (x.T * w) @ x
        V2 += gamma ** (2 * age) * (x.T * w) @ x
        b += gamma**age * x.T @ (w * r)
    return inv(V) @ b, inv(V) @ V2 @ inv(V)


def logistic(
    mean: np.ndarray, precision: np.ndarray, x: np.ndarray, r: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the mode of N(mean, precision^-1) times the likelihood of a batch by BFGS, and the curvature there."""

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        logit, offset = x @ theta, theta - mean
        value = 0.5 * offset @ precision @ offset + w @ (np.logaddexp(0, logit) - r * logit)
        return value, precision @ offset + x.T @ (w * (1 / (1 + np.exp(-logit)) - r))

    mode = minimize(loss, mean, jac=True, method="BFGS", options={"gtol": 1e-9}).x
    p = 1 / (1 + np.exp(-x @ mode))
    return mode, precision + (x.T * (w * p * (1 - p))) @ x
