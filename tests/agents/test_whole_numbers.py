"""Softmax, draws and sums in whole numbers: close to those of floats, and equal to the bit in every program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxbandit.agents import whole_numbers
from tests.support import assert_counts, f64, normal

KEY = jax.random.key(0)


@pytest.mark.parametrize("num_arms", [1, 2, 20, 1000])
def test_softmax_is_that_of_floats_but_for_2_to_the_minus_30(num_arms):
    values = 10 * normal(0, 50, num_arms)
    values = values.at[:, 1::3].set(-jnp.inf)
    got = whole_numbers.softmax(values, 0.3)
    expected = special.softmax(0.3 * f64(values), axis=-1)
    # 23 products, each rounded by half of 1.2e-7, and K weights by half of one, of 2^30 / K.
    np.testing.assert_allclose(got, expected, rtol=3e-6, atol=num_arms**2 * 2.0**-31)
    assert np.all(got[:, 1::3] == 0)


@pytest.mark.parametrize("shape", [(3,), (7, 3), (40, 3), (1, 1), (33, 17)])
def test_softmax_is_equal_to_the_bit_beside_any_others(shape):
    values, rate = 100 * normal(1, 33, 17, 8), jnp.linspace(0.001, 1, 33)
    compiled = jax.jit(jax.vmap(whole_numbers.softmax))(values, rate)
    few = values[: shape[0], : shape[-1]] if len(shape) > 1 else values[: shape[0]]
    some = jax.jit(jax.vmap(whole_numbers.softmax))(few, rate[: shape[0]])
    np.testing.assert_array_equal(some, compiled[tuple(slice(n) for n in few.shape)])


@pytest.mark.parametrize("num_arms", [1, 2, 5, 32, 33, 200])
def test_arms_are_drawn_as_often_as_they_should_and_never_where_they_must_not(num_arms):
    weight = np.random.default_rng(num_arms).random(num_arms) ** 3 * (np.arange(num_arms) % 3 != 1)
    probabilities = weight / weight.sum()
    drawn = whole_numbers.draw(KEY, jnp.tile(jnp.asarray(probabilities, jnp.float32)[None], (50_000, 1)))
    assert_counts(np.bincount(drawn, minlength=num_arms), probabilities)


def test_the_last_word_draws_the_last_arm():
    words = jnp.array([0, 2**32 - 1, 2**32 - 1, 2**31, 2**32 - 1], jnp.uint32)
    bounds = jnp.array([2**30, 2**30, 2**31 - 1, 3, 1], jnp.uint32)
    expected = [int(w) * int(b) >> 32 for w, b in zip(words, bounds, strict=True)]
    assert whole_numbers._below(words, bounds).tolist() == expected


def test_sums_do_not_depend_on_the_order_of_their_terms():
    terms = 1 / jax.random.uniform(KEY, (4096, 5), minval=1e-5)
    got = whole_numbers.total(terms)
    np.testing.assert_array_equal(got, whole_numbers.total(terms[::-1]))
    np.testing.assert_array_equal(got, whole_numbers.total(jax.random.permutation(KEY, terms)))
    np.testing.assert_allclose(got, f64(terms).sum(axis=0), atol=4096 * 2.0**-9)
    assert whole_numbers.total(jnp.full((4, 1), 1e30)).tolist() == [4 * 2.0**20]
