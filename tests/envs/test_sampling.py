from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit.envs import sampling
from tests.support import assert_counts

BATCH = 60_000


def counts_of_rows(rows: np.ndarray, outcomes: list[tuple[int, ...]]) -> np.ndarray:
    """How often each outcome occurs among the rows; a row that is no outcome fails."""
    found, counts = np.unique(rows, axis=0, return_counts=True)
    table = {tuple(row): count for row, count in zip(found.tolist(), counts, strict=True)}
    assert set(table) <= set(outcomes)
    return np.array([table.get(outcome, 0) for outcome in outcomes])


distinct = jax.jit(sampling.distinct, static_argnums=(1, 2, 3))


@pytest.mark.parametrize(("population", "count"), [(5, 3), (4, 4), (6, 1)])
def test_distinct_is_uniform_over_ordered_subsets(population, count):
    rows = np.asarray(distinct(jax.random.key(0), population, BATCH, count))
    outcomes = list(permutations(range(population), count))
    assert_counts(counts_of_rows(rows, outcomes), 1 / len(outcomes))


@pytest.mark.parametrize(("population", "count"), [(87_585, 20), (7, 7), (100, 60), (60, 60)])
def test_distinct_draws_distinct_items_within_range(population, count):
    rows = np.asarray(distinct(jax.random.key(1), population, 200, count))
    assert rows.shape == (200, count)
    assert rows.dtype == np.int32
    assert rows.min() >= 0
    assert rows.max() < population
    assert all(len(set(row)) == count for row in rows.tolist())


def test_distinct_follows_a_shuffle_that_stops_early(monkeypatch):
    count, population = 12, 20
    jump = np.random.default_rng(0).integers(0, population - np.arange(count)[:, None], (count, 50))
    monkeypatch.setattr(sampling, "multiply_high", lambda bits, span: jnp.asarray(jump, jnp.uint32))
    rows = np.asarray(sampling.distinct(jax.random.key(0), population, 50, count))
    for row, jumps in zip(rows, jump.T, strict=True):
        items = list(range(population))
        for i, j in enumerate(jumps):
            items[i], items[i + j] = items[i + j], items[i]
        assert row.tolist() == items[:count]


@pytest.mark.parametrize(("population", "count"), [(1, 1), (2, 2), (7, 7), (10, 3), (100, 100), (943, 128), (943, 943)])
def test_undoing_all_steps_at_once_draws_what_undoing_them_one_by_one_does(population, count):
    for key in jax.random.split(jax.random.key(3), 5):
        at_once = sampling.distinct_at_once(key, population, count)
        np.testing.assert_array_equal(at_once, distinct(key, population, 1, count)[0])


def test_distinct_reaches_every_item_of_a_large_catalogue_alike():
    rows = np.asarray(distinct(jax.random.key(2), 500, 20_000, 10))
    for position in (0, 9):
        assert_counts(np.bincount(rows[:, position], minlength=500), 1 / 500)


words = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**16 - 1, 2**16, 2**32 - 1])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(words, words), min_size=8, max_size=8))
def test_multiply_high_is_the_high_word_of_the_product(pairs):
    a, b = (jnp.asarray(np.array(side, np.uint32)) for side in zip(*pairs, strict=True))
    assert np.asarray(sampling.multiply_high(a, b)).tolist() == [(x * y) >> 32 for x, y in pairs]


def test_weighted_draws_follow_the_weights():
    weights = np.array([0.1, 0.0, 0.5, 0.4])
    draw = sampling.weighted(jax.random.key(0), jnp.asarray(np.cumsum(weights), jnp.float32), BATCH)
    assert_counts(np.bincount(np.asarray(draw), minlength=4), weights)


def test_weighted_draws_stay_in_range_where_the_sum_is_rounded_below_one():
    draw = sampling.weighted(jax.random.key(0), jnp.array([0.25, 0.5]), BATCH)
    assert set(np.asarray(draw).tolist()) == {0, 1}


def test_weighted_distinct_follows_plackett_luce():
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    rows = sampling.weighted_distinct(jax.random.key(0), jnp.asarray(np.log(weights), jnp.float32), BATCH, 2)
    outcomes = list(permutations(range(4), 2))
    chance = [weights[i] / 10 * weights[j] / (10 - weights[i]) for i, j in outcomes]
    assert_counts(counts_of_rows(np.asarray(rows), outcomes), np.array(chance))


def test_draws_with_replacement_are_uniform_and_those_of_distinct_for_one_item():
    key = jax.random.key(11)
    drawn = sampling.uniform(key, 7, 7_000)
    assert_counts(np.bincount(drawn, minlength=7), np.full(7, 1 / 7))
    np.testing.assert_array_equal(drawn, sampling.distinct(key, 7, 7_000, 1)[:, 0])
