"""The numbers that the reference and the literature give on MovieLens 100K; skipped where the data are absent."""

import numpy as np
import pytest

from jaxbandit.data.factorization import factorize
from jaxbandit.data.ratings import first_items


@pytest.mark.parametrize(
    ("name", "rank_k", "low", "high"),
    # Another random split moves the error by about 0.01 (four splits), so the first two are bounded by that.
    [("svd", 20, 2.48, 2.53), ("residual_svd", 10, 0.893, 0.913), ("als", 20, 0.88, 0.905)],
)
def test_heldout_error_is_that_of_the_published_table(ml_100k, name, rank_k, low, high):
    assert low < factorize(ml_100k, name, rank_k).heldout_rmse <= high


def test_fixed_arms_reproduce_the_reference_environment(ml_100k):
    part = first_items(ml_100k, 20)
    factors = factorize(part, "svd", 20, evaluate=False)
    reward = factors.user * factors.scale @ factors.item.T
    assert reward.shape == (737, 20)
    # Four digits are known.
    assert reward.max(axis=1).mean() == pytest.approx(4.5726, abs=5e-5)
    assert reward.mean(axis=0).max() == pytest.approx(2.3786, abs=5e-5)
    assert reward.mean(axis=0).argmax() == 0
    assert reward.mean() == pytest.approx(0.8775, abs=6e-5)
    raw = np.zeros((737, 20))
    raw[part.user, part.item] = part.rating
    np.testing.assert_allclose(reward, raw, atol=1e-4)  # exact at rank 20, but for float32


def test_per_arm_rewards_have_the_reference_mean(ml_100k):
    factors = factorize(ml_100k, "svd", 20, evaluate=False)
    mean = float((factors.user.mean(axis=0) * factors.scale) @ factors.item.mean(axis=0))
    assert mean == pytest.approx(0.224, abs=0.003)  # the known value comes from a simulation
