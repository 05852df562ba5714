import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import Ratings, describe, gini, plot, synth

HAND_MADE = Ratings(
    name="hand",
    user=np.array([0, 0, 0, 1], np.int32),
    item=np.array([0, 1, 2, 0], np.int32),
    rating=np.array([1, 5, 5, 3], np.float32),
    user_ids=np.array([1, 2]),
    item_ids=np.array([1, 2, 3, 4]),
    low=1.0,
    high=5.0,
)


def test_a_hand_made_table_is_described_exactly() -> None:
    found = describe(HAND_MADE)
    assert json.loads(json.dumps(found)) == found
    assert (found["users"], found["items"], found["rated_items"], found["ratings"]) == (2, 4, 3, 4)
    assert found["density"] == 0.5
    assert found["stars"] == {"1": 0.25, "3": 0.25, "5": 0.5}
    assert (found["mean"], found["sd"]) == (3.5, pytest.approx(np.sqrt(2.75)))
    assert found["ratings_per_user"] == {"median": 2, "mean": 2, "max": 3, "gini": 0.25}
    assert found["ratings_per_item"] == {"median": 1, "mean": 1, "max": 2, "gini": 0.375}
    assert not found["truth_known"]


def test_gini_is_zero_for_equal_counts_and_near_one_for_a_monopoly() -> None:
    assert gini(np.full(10, 3)) == 0
    assert gini(np.array([0] * 99 + [7])) == pytest.approx(0.99)


def test_many_distinct_ratings_are_binned() -> None:
    rating = np.linspace(0, 100, 4_000, dtype=np.float32)
    user, item = np.divmod(np.arange(4_000, dtype=np.int32), 40)
    ratings = dataclasses.replace(HAND_MADE, user=user, item=item, rating=rating, user_ids=np.arange(100))
    ratings = dataclasses.replace(ratings, item_ids=np.arange(40))
    shares = describe(ratings)["stars"]
    assert len(shares) == 10
    assert sum(shares.values()) == pytest.approx(1)


def test_a_picture_is_drawn_and_an_impossible_place_refused(tmp_path: Path) -> None:
    plot(synth("synth-100k"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="cannot be written"):
        plot(HAND_MADE, tmp_path / "none" / "a.png")
