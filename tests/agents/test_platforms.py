"""What TPUs and GPUs have of their own equals the common way: here on a CPU, Pallas kernels in their interpreter."""

from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from jaxbandit._core import platforms
from jaxbandit._core.selection import entries
from jaxbandit.agents import exploration, neural_ucb
from jaxbandit.agents.models import cholesky, features, gaussian, members, replay
from jaxbandit.agents.models.networks import NetworkSettings, example, make_network
from jaxbandit.agents.models.training import context_of
from jaxbandit.agents.neural_ensemble import Ensemble
from jaxbandit.envs import sampling
from jaxbandit.types import Context, Spec, make_catalogue

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


@pytest.mark.parametrize("capacity", [24, 8, 20])
@pytest.mark.parametrize("everyone", [True, False])
def test_examples_are_stored_in_the_same_places_bit_for_bit(capacity, everyone):
    rounds, lanes, batch = 6, 3, 8
    rng = np.random.default_rng(0)
    rows = {
        "x": rng.normal(size=(rounds, lanes, batch, 5)).astype(np.float32),
        "model": rng.integers(0, 9, (rounds, lanes, batch)).astype(np.int32),
    }
    weight = rng.integers(everyone, 2, (rounds, lanes, batch)).astype(np.float32)  # of some lanes more is stored

    def stored(rows, weight):
        def add(buffer, batch):
            return (buffer := jax.vmap(replay.add)(buffer, *batch)), buffer

        empty = replay.init({"x": jnp.zeros(5), "model": jnp.int32(0)}, capacity)
        empty = jax.tree.map(lambda leaf: jnp.stack([leaf] * lanes), empty)
        return jax.lax.scan(add, empty, (rows, weight))[1]

    jax.tree.map(np.testing.assert_array_equal, *(on(p, stored, rows, weight) for p in ("cpu", "tpu")))


@pytest.mark.parametrize("priors", [False, True])
@pytest.mark.parametrize("platform", OTHERS)
def test_a_user_gets_the_values_of_the_same_network(platform, priors):
    spec = Spec(3, 4, 5)
    ensemble = Ensemble(make_network(spec, NetworkSettings()), 4, priors, 0.5)
    keys = jax.random.split(jax.random.key(0))
    params = tuple(ensemble.init(key, spec, noise=False) for key in keys)
    context = one_of_a_catalogue(64, spec)
    assert members._worth_it(params, context)
    member = jax.random.randint(keys[0], (64,), 0, 3)  # the last network serves nobody
    common, own = (
        on(p, lambda *args: members.values_of_members(ensemble.values, *args), params, context, member)
        for p in ("cpu", platform)
    )
    np.testing.assert_allclose(own, common, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dropout_rate", "noise"), [(None, False), (0.5, True)])
def test_a_common_tower_predicts_the_same_and_has_the_same_parameters(dropout_rate, noise):
    spec = Spec(3, 4, 5)
    module = make_network(spec, NetworkSettings(common_layers=(8, 6)))
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    context = one_of_a_catalogue(16, spec)

    def made_and_applied(context):
        params = module.init(rngs, context, dropout_rate, noise)
        return params, module.apply(params, context, dropout_rate, noise, rngs=rngs)

    (params, values), (own_params, own) = (on(p, made_and_applied, context) for p in ("cpu", "tpu"))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-6), params, own_params)
    np.testing.assert_allclose(own, values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lanes", [1, 3, features.MANY_LANES])
def test_bounds_of_offered_arms_are_equal_but_for_rounding_in_few_lanes_and_in_many(lanes):
    spec = Spec(3, 4, 5)
    context = one_of_a_catalogue(16, spec)
    whitener = jnp.tril(jax.random.normal(jax.random.key(0), (2, lanes, 10, 10)))
    solutions = gaussian.Solution(jax.random.normal(jax.random.key(1), (2, lanes, 10)), whitener)

    def predicted(solutions):
        return jax.vmap(jax.vmap(partial(features.predict, "concat", True, context)))(solutions)

    common, tpu = (on(p, predicted, solutions) for p in ("cpu", "tpu"))
    for a, b in zip(common, tpu, strict=True):
        # Sums of some hundred products of up to some hundred.
        np.testing.assert_allclose(a, b, rtol=0, atol=100 * np.finfo(np.float32).eps * 100)


def test_gradients_see_all_dense_layers_of_a_common_tower_on_a_tpu():
    spec = Spec(3, 4, 5)
    module = make_network(spec, NetworkSettings())
    params = module.init(jax.random.key(0), example(spec))
    shown = context_of(spec, jnp.ones((1, 4)), jnp.ones((1, 5)))
    with platforms.compiling_for("tpu"):
        slopes = neural_ucb.backward(module, params, shown, jnp.ones((1, 1))).slopes
    assert sum(slope.size for slope in slopes.values()) == sum(
        leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 1
    )  # a bias has the slopes of its layer


def one_of_a_catalogue(batch, spec):
    """Offer each user arms of a catalogue that is too large to score all of it."""
    keys = jax.random.split(jax.random.key(2), 3)
    items = make_catalogue(np.asarray(jax.random.normal(keys[0], (500, spec.arm_dim))))
    arm_id = jax.random.randint(keys[1], (batch, spec.num_actions), 0, 500, jnp.int32)
    user = jax.random.normal(keys[2], (batch, spec.user_dim))
    return Context(user=user, user_id=jnp.arange(batch), arm_id=arm_id, catalogue=items)
