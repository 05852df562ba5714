import numpy as np
import pytest

from jaxbandit.data.ratings import Ratings, Truth


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "factors"


@pytest.fixture
def from_dense():
    """Build Ratings from a dense matrix and a mask of the known entries."""

    def build(dense, known=None, *, low=-100.0, high=100.0, truth=None):
        known = np.ones(dense.shape, bool) if known is None else known
        user, item = np.nonzero(known)
        return Ratings(
            name="small",
            user=user.astype(np.int32),
            item=item.astype(np.int32),
            rating=dense[user, item].astype(np.float32),
            user_ids=np.arange(dense.shape[0]),
            item_ids=np.arange(dense.shape[1]),
            low=low,
            high=high,
            truth=truth,
        )

    return build


@pytest.fixture
def world(from_dense):
    """A small world with known truth, 60 users x 45 items, 40% rated, with one item that nobody rated."""
    rng = np.random.default_rng(5)
    truth = Truth(
        mean=3.0,
        user_bias=(0.4 * rng.standard_normal(60)).astype(np.float32),
        item_bias=(0.5 * rng.standard_normal(45)).astype(np.float32),
        user=(0.7 * rng.standard_normal((60, 3))).astype(np.float32),
        item=(0.7 * rng.standard_normal((45, 3))).astype(np.float32),
    )
    utility = truth.mean + truth.user_bias[:, None] + truth.item_bias + truth.user @ truth.item.T
    stars = np.clip(np.rint(utility + 0.3 * rng.standard_normal(utility.shape)), 1, 5)
    known = rng.random(utility.shape) < 0.4
    known[:, 17] = False
    known[3, 0] = True
    return from_dense(stars, known, low=1.0, high=5.0, truth=truth)
