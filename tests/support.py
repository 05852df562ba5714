"""What several tests need: small worlds, random contexts, and statistical bounds."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxbandit.data import Ratings
from jaxbandit.data.synthetic import World, generate
from jaxbandit.features import pair_products
from jaxbandit.types import Catalogue, Context


@cache
def small_ratings() -> Ratings:
    """60 users, 40 items, with known truth."""
    return generate("small", World(num_users=60, num_items=40, activity_scale=10.0, popularity_sd=1.0, seed=0))


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def f64(array: jax.Array) -> np.ndarray:
    return np.asarray(array, np.float64)


def catalogue(num_items: int, dim: int, seed: int = 0) -> Catalogue:
    items = normal(seed, num_items, dim)
    return Catalogue(items, jnp.asarray(pair_products(np.asarray(items))))


def users(batch: int, dim: int = 1, mask: np.ndarray | None = None, **fields) -> Context:
    """Context of random users; other fields of the context as given."""
    mask = None if mask is None else jnp.asarray(mask)
    return Context(normal(1, batch, dim), jnp.arange(batch, dtype=jnp.int32), mask=mask, **fields)


def assert_counts(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Chi-square test of counts at a fixed key: one in ten thousand keys would fail by chance."""
    probabilities = np.broadcast_to(probabilities, np.shape(counts))
    assert np.all(counts[probabilities == 0] == 0)
    possible = probabilities > 0
    expected = probabilities[possible] / probabilities[possible].sum() * np.sum(counts)
    if possible.sum() == 1:
        return
    assert stats.chisquare(counts[possible], expected).pvalue > 1e-4, (counts, expected)


def assert_mean(values: np.ndarray, expected: float) -> None:
    """Mean within 4 standard errors: one in 16,000 keys would fail by chance."""
    values = f64(values)
    error = values.std(ddof=1) / np.sqrt(values.size)
    # float32 values carry a relative rounding error of 1e-7 each.
    assert abs(values.mean() - expected) <= 4 * error + 1e-6 * abs(expected), (values.mean(), expected, error)


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)
