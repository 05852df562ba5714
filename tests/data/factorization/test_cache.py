import os
from dataclasses import replace

import numpy as np
import pytest

from jaxbandit.data.factorization import FACTORIZERS, factorize
from jaxbandit.data.factorization.cache import directory, key


@pytest.fixture
def fits(monkeypatch):
    """Count the fits by `svd`."""
    calls = []
    fit = FACTORIZERS["svd"]
    monkeypatch.setitem(FACTORIZERS, "svd", lambda ratings, rank_k: calls.append(rank_k) or fit(ratings, rank_k))
    return calls


def assert_same(one, other):
    for field in ("user", "item", "scale", "mean", "low", "high", "heldout_rmse", "truth_correlation"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_an_equal_call_is_answered_from_the_cache_with_the_same_numbers(world, fits):
    first = factorize(world, "svd", 3)
    assert len(fits) == 2  # the second on 90%
    assert_same(factorize(replace(world, name="renamed"), "svd", 3), first)
    assert len(fits) == 2


def test_infinite_limits_and_missing_numbers_survive_the_cache(world):
    plain = replace(world, truth=None)
    first = factorize(plain, "svd", 3, evaluate=False)
    again = factorize(plain, "svd", 3, evaluate=False)
    assert (again.low, again.high, again.heldout_rmse) == (-np.inf, np.inf, None)
    assert_same(again, first)


def test_cache_off_neither_reads_nor_writes(world, fits, own_cache):
    factorize(world, "svd", 3, evaluate=False, cache=False)
    factorize(world, "svd", 3, evaluate=False, cache=False)
    assert len(fits) == 2
    assert not own_cache.exists()


def test_key_depends_on_content_and_settings(world):
    settings = {"factorizer": "svd", "rank_k": 3, "evaluate": True}
    other_rating = world.rating.copy()
    other_rating[0] += 1
    keys = {
        key(world, **settings),
        key(world, **settings | {"rank_k": 4}),
        key(world, **settings | {"factorizer": "als"}),
        key(world, **settings | {"evaluate": False}),
        key(replace(world, rating=other_rating), **settings),
        key(replace(world, user=world.user[::-1]), **settings),
        key(replace(world, high=6.0), **settings),
        key(replace(world, item_ids=np.arange(46)), **settings),
        key(replace(world, truth=None), **settings),
        key(replace(world, truth=replace(world.truth, mean=2.0)), **settings),
    }
    assert len(keys) == 10


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no zip at all" * 20])
def test_a_corrupt_file_is_ignored_and_rewritten(world, fits, own_cache, damage):
    first = factorize(world, "svd", 3, evaluate=False)
    (file,) = own_cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert_same(factorize(world, "svd", 3, evaluate=False), first)
    assert len(fits) == 2
    assert len(file.read_bytes()) == len(whole)
    factorize(world, "svd", 3, evaluate=False)
    assert len(fits) == 2


def test_flipped_bytes_in_the_arrays_are_noticed(world, fits, own_cache):
    first = factorize(world, "svd", 3, evaluate=False)
    (file,) = own_cache.iterdir()
    data = bytearray(file.read_bytes())
    data[300] ^= 0xFF
    file.write_bytes(bytes(data))
    assert_same(factorize(world, "svd", 3, evaluate=False), first)
    assert len(fits) == 2


def test_a_file_with_other_fields_is_ignored(world, fits, own_cache):
    factorize(world, "svd", 3, evaluate=False)
    (file,) = own_cache.iterdir()
    np.savez(file, user=np.zeros((2, 2)))
    factorize(world, "svd", 3, evaluate=False)
    assert len(fits) == 2


def test_a_cache_that_cannot_be_written_is_no_failure(world, own_cache):
    own_cache.parent.parent.mkdir(exist_ok=True)
    own_cache.parent.write_text("a file where the directory should be")
    assert factorize(world, "svd", 3).heldout_rmse > 0


def test_a_write_that_fails_leaves_nothing_behind(world, own_cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    factorize(world, "svd", 3)
    assert list(own_cache.iterdir()) == []


def test_directory_follows_the_environment_and_else_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path))
    assert directory() == tmp_path / "factors"
    monkeypatch.delenv("JAXBANDIT_CACHE")
    assert directory().parts[-2:] == ("jaxbandit", "factors")
