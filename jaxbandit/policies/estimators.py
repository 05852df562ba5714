"""Off-policy estimates from a log: IPS, SNIPS, DM, DR, and their bootstrap. Knows no agents and reads no files.

Interaction t of the log has context x, action a, reward r and propensity p, the probability with which the logged
policy took a. The target policy takes a with probability pi(a|x); q(x, a) is a reward model; w = pi(a|x) / p. The value
of the target policy, its mean reward per interaction, is estimated by

    IPS    mean(w r)                                       unbiased where p > 0 wherever pi > 0
    SNIPS  sum(w r) / sum(w)                               biased by O(1/n), of a lower variance
    DM     mean(sum_a pi(a|x) q(x, a))                     as good as the model
    DR     mean(sum_a pi(a|x) q(x, a) + w (r - q(x, a)))   unbiased like IPS, and where the model is right

Sources. IPS: Horvitz and Thompson 1952, "A Generalization of Sampling Without Replacement from a Finite Universe",
https://doi.org/10.1080/01621459.1952.10483446. SNIPS: Swaminathan and Joachims 2015, "The Self-Normalized Estimator for
Counterfactual Learning", https://papers.nips.cc/paper/2015/hash/39027dfad5138c9ca0c474d71db915c3-Abstract.html. DM and
DR: Dudík, Langford and Li 2011, "Doubly Robust Policy Evaluation and Learning", https://arxiv.org/abs/1103.4601
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95  # of intervals


class Sums(NamedTuple):
    """Sums over interactions: of each block [G], of the blocks of each seed [S, G], or over the whole log []."""

    number: Float[np.ndarray, "..."]  # of interactions
    reward: Float[np.ndarray, "..."]  # r
    weight: Float[np.ndarray, "..."]  # w
    weighted_reward: Float[np.ndarray, "..."]  # w r
    model: Float[np.ndarray, "..."]  # sum_a pi(a|x) q(x, a)
    correction: Float[np.ndarray, "..."]  # w (r - q(x, a))


ESTIMATORS: dict[str, Callable[[Sums], np.ndarray]] = {
    "ips": lambda s: s.weighted_reward / s.number,
    "snips": lambda s: np.divide(s.weighted_reward, s.weight, out=np.full_like(s.weight, np.nan), where=s.weight > 0),
    "dm": lambda s: s.model / s.number,
    "dr": lambda s: (s.model + s.correction) / s.number,
}
CHECKS: dict[str, Callable[[Sums], np.ndarray]] = {
    "logged": lambda s: s.reward / s.number,  # value of the logged policy
    "mean_weight": lambda s: s.weight / s.number,  # 1, less the share of the target's actions that have p = 0
}


class Estimate(NamedTuple):
    """A value, its bootstrap standard error and the ends of its interval of probability LEVEL."""

    value: float
    stderr: float
    low: float
    high: float


def tally(
    block: Int[np.ndarray, " n"],
    num_blocks: int,
    *,
    propensity: Float[np.ndarray, " n"],
    reward: Float[np.ndarray, " n"],
    target: Float[np.ndarray, " n"],
    predicted: Float[np.ndarray, " n"],
    model: Float[np.ndarray, " n"],
) -> Sums:
    """Sum interactions up within each of `num_blocks` blocks; `block` says where each interaction belongs.

    `propensity` is p, `reward` r, `target` pi(a|x), `predicted` q(x, a), and `model` sum_a pi(a|x) q(x, a).
    """
    weight = target.astype(np.float64) / propensity
    columns = (np.ones_like(weight), reward, weight, weight * reward, model, weight * (reward - predicted))
    return Sums(*(np.bincount(block, column, num_blocks) for column in columns))


def bootstrap(sums: Sums, replicates: int, seed: int = 0) -> Sums:
    """Resample sums [S, G] to [replicates]: seeds with replacement where there are several, then the blocks of each.

    A block is a stretch of consecutive rounds, since the interactions of rounds near each other depend on each other.
    Source: Künsch 1989, "The Jackknife and the Bootstrap for General Stationary Observations",
    https://doi.org/10.1214/aos/1176347265; blocks here do not overlap.
    """
    rng = np.random.default_rng(seed)
    num_seeds, num_blocks = sums.number.shape
    flat = np.stack([field.reshape(-1) for field in sums], axis=1)
    resampled = np.empty((replicates, len(sums)))
    for i in range(replicates):
        drawn = rng.integers(num_seeds, size=num_seeds) if num_seeds > 1 else np.zeros(1, int)
        times = rng.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size=num_seeds)
        counts = np.zeros((num_seeds, num_blocks))
        np.add.at(counts, drawn, times)
        resampled[i] = counts.reshape(-1) @ flat
    return Sums(*resampled.T)


def estimates(sums: Sums, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Estimate the value of the target policy from sums [S, G] by ESTIMATORS, and the CHECKS beside them."""
    total = Sums(*(np.sum(field) for field in sums))
    resampled = bootstrap(sums, replicates, seed)
    rules = {**ESTIMATORS, **CHECKS}
    return {name: _interval(float(rule(total)), rule(resampled)) for name, rule in rules.items()}


def _interval(value: float, resampled: Float[np.ndarray, " R"]) -> Estimate:
    """Take standard error and quantiles of the replicates.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife", https://doi.org/10.1214/aos/1176344552
    """
    resampled = resampled[np.isfinite(resampled)]  # a replicate with sum(w) = 0 has no SNIPS
    if not len(resampled):
        return Estimate(value, np.nan, np.nan, np.nan)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(np.std(resampled)), float(low), float(high))
