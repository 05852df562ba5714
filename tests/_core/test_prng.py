import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core import prng


@pytest.mark.parametrize("shape", [(), (1,), (7,), (20, 33), (3, 0), (prng.MANY,), (3, prng.MANY + 1)])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_words_are_those_of_jax(shape, impl):
    key = jax.random.fold_in(jax.random.key(2**31 + 5, impl=impl), 3)
    drawn = prng.bits(key, shape)
    assert drawn.dtype == jnp.uint32
    np.testing.assert_array_equal(drawn, jax.random.bits(key, shape, jnp.uint32))


def test_words_of_a_lane_do_not_depend_on_the_lanes_beside_it():
    keys = jax.random.split(jax.random.key(0), 5)
    together = jax.jit(jax.vmap(lambda key: prng.bits(key, (4, 3))))(keys)
    np.testing.assert_array_equal(together[3], prng.bits(keys[3], (4, 3)))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_are_those_of_jax(impl):
    key = jax.random.key(2**31 + 5, impl=impl)
    number = jnp.int32(70_000)
    for made, of_jax in (
        (prng.split(key, 5), jax.random.split(key, 5)),
        (prng.split(key), jax.random.split(key)),
        (prng.fold_in(key, number), jax.random.fold_in(key, number)),
        (prng.fold_in(key, -number), jax.random.fold_in(key, -number)),
    ):
        np.testing.assert_array_equal(jax.random.key_data(made), jax.random.key_data(of_jax))


@pytest.mark.parametrize("draw", [jax.random.normal, jax.random.gumbel, jax.random.exponential, jax.random.rademacher])
def test_all_draws_of_a_fused_key_are_those_of_jax(draw):
    keys = jax.random.split(jax.random.key(3), 2)
    fused = jax.jit(jax.vmap(lambda key: draw(prng.fused(key), (3, 5))))(keys)
    np.testing.assert_array_equal(fused, jax.jit(jax.vmap(lambda key: draw(key, (3, 5))))(keys))


@pytest.mark.parametrize("width", ["uint8", "uint16"])
def test_words_of_other_widths_are_those_of_jax(width):
    key = jax.random.key(3)
    np.testing.assert_array_equal(jax.random.bits(prng.fused(key), (5,), width), jax.random.bits(key, (5,), width))


@pytest.mark.parametrize("seed", [0, 5, 2**31 - 1, 2**31, 2**32 + 3])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_the_root_of_a_seed_is_that_of_jax(seed, impl):
    with jax.default_prng_impl(impl):
        made, of_jax = prng.root(seed), jax.random.key(seed)
    assert made.dtype == of_jax.dtype
    np.testing.assert_array_equal(jax.random.key_data(made), jax.random.key_data(of_jax))
