"""Textbook normal-inverse-gamma regression in float64 NumPy, from all rows. It shares no code with the package."""

import numpy as np


def posterior(x: np.ndarray, r: np.ndarray, w: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Precision Lambda, mean mu, a - a0 and b - b0 after rows x [n, d] of rewards r and weights w."""
    precision = ridge * np.eye(x.shape[1])
    moment, squares = np.zeros(x.shape[1]), 0.0
    for row, paid, weight in zip(x, r, w, strict=True):
        precision += weight * np.outer(row, row)
        moment += weight * paid * row
        squares += weight * paid**2
    mean = np.linalg.solve(precision, moment)
    return precision, mean, w.sum() / 2, (squares - mean @ precision @ mean) / 2
