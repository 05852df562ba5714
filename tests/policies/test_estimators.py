"""Off-policy estimates of tiny logs: by hand, their errors, and the reward model below them."""

import tracemalloc

import numpy as np
import pytest

from jaxbandit.policies import estimators, evaluate, log_sums
from jaxbandit.policies.estimators import Sums
from jaxbandit.policies.reward_model import RewardModel


def sums(place: list[int], size: int, **columns: list[float]) -> Sums:
    return estimators.tally(np.array(place), size, **{name: np.array(x) for name, x in columns.items()})


TINY = {
    "propensity": [0.5, 0.25, 0.5, 1.0],
    "reward": [1.0, 2.0, 0.0, 3.0],
    "target": [0.25, 0.5, 1.0, 0.5],  # weights .5 2 2 .5
    "predicted": [0.5, 1.0, 0.5, 2.0],
    "model": [1.0, 2.0, 3.0, 0.0],
}


def test_every_estimator_gives_what_a_tiny_log_gives_by_hand():
    found = estimators.estimates(Sums(*(x[None] for x in sums([0, 1, 2, 3], 4, **TINY))))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values["ips"] == pytest.approx((0.5 + 4 + 0 + 1.5) / 4)
    assert values["snips"] == pytest.approx(6 / 5)
    assert values["dm"] == pytest.approx(6 / 4)
    assert values["dr"] == pytest.approx((6 + 0.25 + 2 - 1 + 0.5) / 4)
    assert values["logged"] == pytest.approx(6 / 4)
    assert values["mean_weight"] == pytest.approx(5 / 4)
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.values())


def test_sums_stand_in_their_places():
    found = sums([0, 2, 2, 0], 3, **TINY)
    assert found.number.tolist() == [2, 0, 2]
    assert found.weighted_reward.tolist() == [2, 0, 4]


def test_the_target_that_was_logged_is_worth_what_was_earned():
    same = {**TINY, "target": TINY["propensity"]}
    found = estimators.estimates(Sums(*(x[None] for x in sums([0, 1, 2, 3], 4, **same))))
    assert found["ips"].value == found["snips"].value == found["logged"].value == pytest.approx(1.5)


def test_a_bootstrap_of_rounds_gives_the_standard_error_of_a_mean():
    reward = np.random.default_rng(0).normal(size=400)
    ones = np.ones(400)
    table = sums(list(range(400)), 400, propensity=ones, reward=reward, target=ones, predicted=ones, model=ones)
    found = estimators.estimates(Sums(*(x[None] for x in table)))
    assert found["ips"].stderr == pytest.approx(reward.std() / 20, rel=0.1)
    assert found["ips"].low == pytest.approx(reward.mean() - 1.96 * reward.std() / 20, abs=0.02)


def test_seeds_that_differ_widen_the_interval_as_clusters():
    ones = np.ones(800)
    reward = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 100)
    table = sums(list(range(800)), 800, propensity=ones, reward=reward, target=ones, predicted=ones, model=ones)
    found = estimators.estimates(Sums(*(x.reshape(8, 100) for x in table)))
    assert found["ips"].stderr == pytest.approx(np.std(np.arange(8)) / np.sqrt(8), rel=0.1)
    alone = estimators.estimates(Sums(*(x.reshape(1, 800) for x in table)))
    assert alone["ips"].stderr < 0.2 * found["ips"].stderr


@pytest.mark.parametrize("arm_dim", [0, 2, 40])
def test_the_reward_model_is_ridge_regression_on_the_other_fold(arm_dim):
    rng, actions = np.random.default_rng(1), 3
    num, user_dim = 60, 30
    user, action, reward = rng.normal(size=(num, user_dim)), rng.integers(actions, size=num), rng.normal(size=num)
    arms = rng.normal(size=(num, actions, arm_dim)) if arm_dim else None
    seed, fold = rng.integers(2, size=num), rng.integers(2, size=num)
    model = RewardModel(2, actions, user_dim, arm_dim)
    assert model.kind == {0: "disjoint", 2: "outer", 40: "concat"}[arm_dim]
    taken = None if arms is None else arms[np.arange(num), action]
    for rows in np.split(np.arange(num), [17, 40]):  # in pieces, as files are read
        model.add(
            seed[rows], fold[rows], user[rows], None if taken is None else taken[rows], action[rows], reward[rows]
        )
    model.solve()
    found = model.predict(seed, fold, user, arms)

    def joint(u: np.ndarray, k: int, v: np.ndarray | None) -> np.ndarray:
        one = np.concatenate([[1], u])
        if v is None:
            return np.kron(np.eye(actions)[k], one)
        return np.concatenate([one, v]) if model.kind == "concat" else np.kron(one, np.concatenate([[1], v]))

    for i in range(0, num, 7):
        others = np.flatnonzero((seed == seed[i]) & (fold != fold[i]))
        x = np.array([joint(user[j], action[j], None if taken is None else taken[j]) for j in others])
        mean = reward[others].mean()
        theta = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (reward[others] - mean))
        expected = [joint(user[i], k, None if arms is None else arms[i, k]) @ theta + mean for k in range(actions)]
        np.testing.assert_allclose(found[i], expected, rtol=1e-8, atol=1e-8)


def test_intervals_hold_the_true_value_as_often_as_they_say():
    rng, hits, runs = np.random.default_rng(5), 0, 150
    for _ in range(runs):
        propensity = np.full(300, 0.5)
        target = rng.choice([0.2, 0.8], size=300)
        reward = (target > 0.5) + rng.normal(size=300)  # value of the target: .8
        ones = np.ones(300)
        table = sums(
            list(range(300)), 300, propensity=propensity, reward=reward, target=target, predicted=ones, model=ones
        )
        found = estimators.estimates(Sums(*(x[None] for x in table)), replicates=100)["ips"]
        hits += found.low <= 0.8 <= found.high
    assert 0.89 < hits / runs < 0.99


def test_solving_the_reward_model_takes_the_memory_of_one_seed():
    model = RewardModel(16, 5, 60, 0)
    tracemalloc.start()
    model.solve()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.4 * model.gram.nbytes


def test_what_the_log_lacks_shows_in_the_weights():
    ones, half = np.ones(100), np.full(100, 0.5)
    table = sums(list(range(100)), 100, propensity=half, reward=ones, target=half * 0.5, predicted=ones, model=ones)
    found = estimators.estimates(Sums(*(x[None] for x in table)))
    (warning,) = evaluate._warnings(found, log_sums.Overlap(squares=25.0), 100.0, 100.0)
    assert "weights average 0.500 ± 0.000, not 1" in warning
