"""The baseline of throughput.py: what a person would write in NumPy, vectorised over the batch."""

from typing import Any

import numpy as np


def simulate(params: Any, batch_size: int, rounds: int, num_actions: int = 20) -> float:
    """The same world, LinUCB on [user; arm], alpha 10, ridge .001, with metrics; the mean regret."""
    rng = np.random.default_rng(0)
    user, item = np.asarray(params.user), np.asarray(params.catalogue.features)
    reward = np.asarray(params.user_reward)
    dim, cut = user.shape[1] + item.shape[1], user.shape[1]
    precision, moment, regret = np.zeros((dim, dim), np.float32), np.zeros(dim, np.float32), 0.0
    for _ in range(rounds):
        u = rng.integers(len(user), size=batch_size)
        v = item[floyd(rng, len(item), batch_size, num_actions)]
        means = np.einsum("br,bkr->bk", reward[u], v)
        cov = np.linalg.inv(precision + 0.001 * np.eye(dim, dtype=np.float32))
        theta = cov @ moment
        x = np.concatenate([np.broadcast_to(user[u][:, None], (*v.shape[:2], cut)), v], axis=2)
        flat = x.reshape(-1, dim)
        variance = ((flat @ cov) * flat).sum(-1).reshape(x.shape[:2])
        score = x @ theta + 10 * np.sqrt(np.maximum(variance, 0))
        best = score.argmax(1)
        taken = np.take_along_axis(means, best[:, None], 1)[:, 0]
        regret += float((means.max(1) - taken).mean())
        chosen = x[np.arange(batch_size), best]
        precision, moment = precision + chosen.T @ chosen, moment + taken @ chosen
    return regret / rounds


def floyd(rng: np.random.Generator, population: int, batch_size: int, count: int) -> np.ndarray:
    """Distinct items for each user without sorting the catalogue (Bentley and Floyd 1987)."""
    drawn = np.empty((count, batch_size), np.int64)
    for i, last in enumerate(range(population - count, population)):
        item = rng.integers(last + 1, size=batch_size)
        drawn[i] = np.where((drawn[:i] == item).any(axis=0), last, item)
    return drawn.T
