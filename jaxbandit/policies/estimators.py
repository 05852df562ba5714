"""Off-policy estimates from a log: IPS, SNIPS, DM, DR, and their bootstrap. Knows no agents and reads no files.

With w = pi(a|x) / p for the logged action a of propensity p, r its reward and q(x, a) a reward model:
IPS mean(w r); SNIPS sum(w r) / sum(w); DM mean(sum_a pi(a|x) q(x, a)); DR the DM plus mean(w (r - q(x, a))).
Sources: Horvitz & Thompson 1952; Swaminathan & Joachims 2015 (SNIPS); Dudík et al. 2011 (DR).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of intervals


class Sums(NamedTuple):
    """Sums over interactions, float64; any leading axes."""

    number: np.ndarray  # of interactions
    reward: np.ndarray  # as logged
    weight: np.ndarray  # w
    weighted_reward: np.ndarray  # w r
    model: np.ndarray  # sum_a pi(a|x) q(x, a)
    correction: np.ndarray  # w (r - q(x, a))


ESTIMATORS: dict[str, Callable[[Sums], np.ndarray]] = {
    "ips": lambda s: s.weighted_reward / s.number,
    "snips": lambda s: np.divide(s.weighted_reward, s.weight, out=np.full_like(s.weight, np.nan), where=s.weight > 0),
    "dm": lambda s: s.model / s.number,
    "dr": lambda s: (s.model + s.correction) / s.number,
}
CHECKS: dict[str, Callable[[Sums], np.ndarray]] = {
    "logged": lambda s: s.reward / s.number,  # value of the policy that was logged
    "mean_weight": lambda s: s.weight / s.number,  # short of 1 by what the target does and the logged policy never did
}


class Estimate(NamedTuple):
    """A value, its bootstrap standard error and interval."""

    value: float
    stderr: float
    low: float
    high: float


def tally(
    place: np.ndarray,
    size: int,
    *,
    propensity: np.ndarray,
    reward: np.ndarray,
    target: np.ndarray,
    predicted: np.ndarray,
    model: np.ndarray,
) -> Sums:
    """Sum up interactions [n] within each of `size` places; `place` says where each belongs.

    `target` is pi(a|x) of the logged action, `predicted` its q(x, a), `model` is sum_a pi(a|x) q(x, a).
    """
    weight = target.astype(np.float64) / propensity
    columns = (np.ones_like(weight), reward, weight, weight * reward, model, weight * (reward - predicted))
    return Sums(*(np.bincount(place, column, size) for column in columns))


def bootstrap(sums: Sums, replicates: int, seed: int = 0) -> Sums:
    """Resample sums [S, G] to [replicates]: seeds with replacement where there are several, then blocks of each.

    A block is a stretch of rounds, as long as the log is long, so that what rounds side by side share stays together.
    """
    rng = np.random.default_rng(seed)
    num_seeds, num_blocks = sums.number.shape
    flat = np.stack([field.reshape(-1) for field in sums], axis=1)
    found = np.empty((replicates, len(sums)))
    for i in range(replicates):
        drawn = rng.integers(num_seeds, size=num_seeds) if num_seeds > 1 else np.zeros(1, int)
        times = rng.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size=num_seeds)
        counts = np.zeros((num_seeds, num_blocks))
        np.add.at(counts, drawn, times)
        found[i] = counts.reshape(-1) @ flat
    return Sums(*found.T)


def estimates(sums: Sums, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Estimate from sums [S, G] what the target is worth, by all estimators, and the numbers to judge that by."""
    total = Sums(*(np.sum(field) for field in sums))
    again = bootstrap(sums, replicates, seed)
    return {name: _interval(float(rule(total)), rule(again)) for name, rule in {**ESTIMATORS, **CHECKS}.items()}


def _interval(value: float, again: np.ndarray) -> Estimate:
    again = again[np.isfinite(again)]  # a resample without any overlap has no SNIPS
    if not len(again):
        return Estimate(value, np.nan, np.nan, np.nan)
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(np.std(again)), float(low), float(high))
