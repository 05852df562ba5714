"""A log and a policy -> the sums that estimators need, and how well the log covers the policy. It estimates nothing."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.experiments.interaction_log import Header
from jaxbandit.experiments.log_reader import Reader, Rows
from jaxbandit.policies import estimators
from jaxbandit.policies.estimators import Sums
from jaxbandit.policies.reward_model import FOLDS, RewardModel
from jaxbandit.policies.trained import Policy
from jaxbandit.types import Context, Spec

BLOCKS = 500  # of rounds, of each seed, that the bootstrap resamples
MOST_USERS, MOST_NUMBERS = 8192, 2**24  # users of one call of the policy, and numbers in the features of their arms


class Overlap(NamedTuple):
    """How well the actions of the logged policy cover those of the target policy; w = pi(a|x) / p."""

    squares: float = 0.0  # sum of w^2
    largest: float = 0.0  # w
    impossible: float = 0.0  # sum over interactions of pi of the arms that the logged policy takes with probability 0
    estimated: float = 0.0  # interactions whose propensity is an estimate


def spec_of(header: Header) -> Spec:
    """Return the sizes that an agent is built for which acts on a log."""
    low, high = header.reward_range
    limits = (-np.inf if low is None else low, np.inf if high is None else high)
    return Spec(header.num_actions, header.user_dim, header.arm_dim, limits)


def fit(reader: Reader) -> RewardModel:
    """Fit the reward model to a log."""
    header = reader.header
    model = RewardModel(header.seeds, header.num_actions, header.user_dim, header.arm_dim)
    for rows in reader.rows():
        model.add(rows.seed, folds(rows, reader), np.asarray(rows.context.user), rows.taken(), rows.action, rows.reward)
    model.solve()
    return model


def tally(reader: Reader, policy: Policy, model: RewardModel) -> tuple[Sums, Overlap]:
    """Sum up what the estimators need within each block of rounds, of each seed [S, G]."""
    blocks, seeds = min(reader.rounds, BLOCKS), reader.header.seeds
    total, most = np.zeros((len(Sums._fields), seeds * blocks)), users_at_a_time(reader.header)
    squares, largest, lacking, estimated = 0.0, 0.0, 0.0, 0.0
    for rows in reader.rows():
        target, predicted, value, impossible = _judge(rows, folds(rows, reader), policy, model, most)
        block = rows.seed * blocks + rows.round.astype(np.int64) * blocks // reader.rounds
        numbers = {"propensity": rows.propensity, "reward": rows.reward, "target": target}
        total += np.stack(estimators.tally(block, seeds * blocks, **numbers, predicted=predicted, model=value))
        weight = target / rows.propensity
        squares += float(np.sum(weight**2))
        largest = max(largest, float(weight.max(initial=0)))
        if reader.header.propensity_exact:
            lacking += float(impossible.sum())
        else:  # an estimated propensity may be 1 by chance, where the logged policy had a choice
            estimated += len(weight)
    table = total.reshape(-1, seeds, blocks)
    return Sums(*table[:, table[0].sum(axis=1) > 0]), Overlap(squares, largest, lacking, estimated)


def _judge(rows: Rows, fold: np.ndarray, policy: Policy, model: RewardModel, most: int) -> tuple[np.ndarray, ...]:
    """Compute pi(a|x), q(x, a), sum_a pi(a|x) q(x, a), and pi of the arms that the logged policy never takes there."""
    size = min(len(rows.action), most)
    calls: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(rows.action), size):
        at = np.minimum(np.arange(start, start + size), len(rows.action) - 1)  # of one shape, so compiled once
        chance = np.asarray(policy(_of_users(rows.context, at)), np.float64)
        reward = model.predict(rows.seed[at], fold[at], np.asarray(rows.context.user)[at], rows.offered(at))
        taken = np.arange(size), rows.action[at]
        impossible = np.where(rows.propensity[at] >= 1, 1 - chance[taken], 0.0)
        parts = chance[taken], reward[taken], np.sum(chance * reward, axis=1), impossible
        calls.append(tuple(part[: len(rows.action) - start] for part in parts))
    return tuple(np.concatenate(parts) for parts in zip(*calls, strict=True))


def users_at_a_time(header: Header) -> int:
    """Limit the users of one call of the policy, for which it may join each arm's features to the user's."""
    return min(MOST_USERS, max(1, MOST_NUMBERS // (header.num_actions * (header.user_dim + header.arm_dim))))


def folds(rows: Rows, reader: Reader) -> np.ndarray:
    """Return the fold of each interaction: its round modulo FOLDS, or its place in the log of a single round."""
    return (rows.round if reader.rounds > 1 else np.arange(len(rows.round))) % FOLDS


def _of_users(context: Context, at: np.ndarray) -> Context:
    """Select users of a context."""
    shared = context.catalogue
    return jax.tree.map(lambda x: jnp.asarray(x[at]), context._replace(catalogue=None))._replace(catalogue=shared)
