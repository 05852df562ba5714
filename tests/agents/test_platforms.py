"""What TPUs and GPUs have of their own equals the common way: here on a CPU, Pallas kernels in their interpreter."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from jaxbandit._core import platforms
from jaxbandit._core.selection import entries
from jaxbandit.agents import exploration
from jaxbandit.agents.models import cholesky, gaussian
from jaxbandit.envs import sampling

OTHERS = ("tpu", "cuda")


def on(platform, function, *args):
    with platforms.compiling_for(platform), pltpu.force_tpu_interpret_mode() if platform == "tpu" else nullcontext():
        return jax.tree.map(np.asarray, jax.jit(lambda *args: function(*args))(*args))


def test_the_function_of_the_platform_compiled_for_is_chosen():
    chosen = [platforms.choose(lambda: "default", tpu=lambda: "tpu", cuda=lambda: "cuda")]
    for platform in ("tpu", "gpu", "cpu", "rocm"):
        with platforms.compiling_for(platform):
            chosen.append(platforms.choose(lambda: "default", tpu=lambda: "tpu", cuda=lambda: "cuda"))
    assert [choice() for choice in chosen] == ["default", "tpu", "cuda", "default", "default"]


def test_a_program_for_several_platforms_holds_the_way_of_each():
    def both(x):
        return platforms.choose(lambda x: x + 1, tpu=lambda x: x * 2)(x)

    with platforms.compiling_for("cpu", "tpu"):
        traced = jax.jit(both).trace(jnp.float32(3))
        assert "multiply" in traced.lower(lowering_platforms=("tpu",)).as_text()
        assert "multiply" not in traced.lower(lowering_platforms=("cpu",)).as_text()


@pytest.mark.parametrize("platform", OTHERS)
def test_entries_and_distinct_items_are_equal_bit_for_bit(platform):
    values = jax.random.normal(jax.random.key(0), (3, 50, 7)).at[0, 0].set(-0.0)
    index = jax.random.randint(jax.random.key(1), (3, 50), 0, 7, jnp.int32)
    for table in (values, jnp.argsort(values).astype(jnp.int32), values > 0):
        np.testing.assert_array_equal(on(platform, entries, table, index), entries(table, index))
    draws = [on(p, lambda key: sampling.distinct(key, 30, 40, 20), jax.random.key(2)) for p in ("cpu", platform)]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("num_arms", [2, 20, 100])
@pytest.mark.parametrize("platform", OTHERS)
def test_the_same_arm_is_chosen(platform, num_arms):
    scores = jnp.round(jax.random.normal(jax.random.key(0), (64, num_arms)))  # with many ties
    chosen = [on(p, exploration.greedy, jax.random.key(1), scores) for p in ("cpu", platform)]
    np.testing.assert_array_equal(*chosen)


@pytest.mark.parametrize("dim", [1, 5, 8, 24, 66])
@pytest.mark.parametrize("platform", OTHERS)
def test_a_whitener_is_equal_but_for_rounding_under_any_vmap(platform, dim):
    # Each of d columns adds rounding to what is left: d eps relative to the largest entry, with a margin of 4.
    rows = np.random.default_rng(dim).normal(size=(2, 3, 2 * dim, dim)).astype(np.float32)
    matrix = np.einsum("rcni,rcnj->rcij", rows, rows) + 0.1 * np.eye(dim, dtype=np.float32)
    whiten = jax.vmap(jax.vmap(lambda m: cholesky.inverse_cholesky(m, 0.1)))
    expected = np.linalg.inv(np.linalg.cholesky(matrix.astype(np.float64)))
    bound = 4 * dim * np.finfo(np.float32).eps * abs(expected).max()
    np.testing.assert_allclose(on(platform, whiten, matrix), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dim", [24, 66])
@pytest.mark.parametrize("platform", OTHERS)
def test_features_that_depend_on_each_other_end_in_no_nan(platform, dim):
    rows = np.random.default_rng(0).normal(size=(4, 3, dim))
    exact = 1e4 * np.einsum("nri,nrj->nij", rows, rows) + 0.001 * np.eye(dim)
    wrong = exact * (1 + 1e-3 * np.cos(np.add.outer(np.arange(dim), np.arange(dim)) ** 2))  # as after many sums
    whiten = jax.vmap(lambda m: cholesky.inverse_cholesky(m, 0.001))
    whitener, of_wrong = np.split(on(platform, whiten, np.float32([*exact, *wrong])), 2)
    assert np.isfinite(whitener).all()
    assert np.isfinite(of_wrong).all()
    # x' M^-1 x of what was seen 10^4 times; how exact it is where M has lost its ridge is test_cholesky's.
    white = np.einsum("nij,nrj->nri", whitener.astype(np.float64), rows)
    true = np.einsum("nri,nij,nrj->nr", rows, np.linalg.inv(exact), rows)
    np.testing.assert_allclose((white**2).sum(-1), true, rtol=0.1)


@pytest.mark.parametrize("platform", OTHERS)
def test_an_update_is_equal_but_for_rounding(platform):
    rng = np.random.default_rng(0)
    parts = tuple(rng.normal(size=(100, n)).astype(np.float32) for n in (4, 3))
    reward, weight = rng.normal(size=100).astype(np.float32), rng.integers(0, 2, 100).astype(np.float32)
    common, own = (
        on(p, lambda *args: gaussian.update(gaussian.init(7), *args), parts, reward, weight) for p in ("cpu", platform)
    )
    for a, b in zip(common, own, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=100 * np.finfo(np.float32).eps * 10)  # 100 sums of some ten
