import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.envs.classification import classification
from jaxbandit.envs.drifting import drifting_linear, piecewise
from jaxbandit.envs.linear import linear, linear_per_arm
from jaxbandit.envs.masks import offer_some
from jaxbandit.envs.matrix_factorization.worlds import mf, mf_per_arm
from tests.support import SMALL, assert_counts, small_ratings

BATCH, ROUNDS, ARMS = 60, 100, 5


def per_arm(**settings):
    return mf_per_arm(small_ratings(), rank_k=3, factorizer="residual_svd", **settings)


def fixed(**settings):
    return mf(small_ratings(), rank_k=3, factorizer="residual_svd", **settings)


def labels(num_actions, **settings):  # five of them
    return classification(data=SMALL["data"], **settings)


WORLDS = {
    "mf": fixed,
    "mf-per-arm": per_arm,
    "linear": linear,
    "linear-per-arm": linear_per_arm,
    "drifting-linear": drifting_linear,
    "piecewise": piecewise,
    "classification": labels,
}
each_world = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)


@each_world
@pytest.mark.parametrize("least", [1, 3, ARMS])
def test_each_user_is_offered_a_random_part_of_the_arms_and_never_none(make, least):
    environment, params = make(num_actions=ARMS, min_actions=least)
    state = environment.init(jax.random.key(1), params)

    def offered(key):
        context, means = environment.observe(key, params, state, BATCH)
        assert context.mask.shape == means.shape == (BATCH, ARMS)
        return context.mask

    mask = np.asarray(jax.jit(jax.vmap(offered))(jax.random.split(jax.random.key(0), ROUNDS))).reshape(-1, ARMS)
    counts = np.bincount(mask.sum(axis=1), minlength=ARMS + 1)
    assert_counts(counts, np.where(np.arange(ARMS + 1) >= least, 1 / (ARMS + 1 - least), 0))
    for count in range(least, ARMS):  # every arm, and so every set of that many, as often as any other
        sets = mask[mask.sum(axis=1) == count] @ (2 ** np.arange(ARMS))
        possible = [s for s in range(2**ARMS) if s.bit_count() == count]
        assert_counts(np.bincount(sets, minlength=2**ARMS)[possible], 1 / len(possible))


@each_world
def test_the_optimum_is_the_best_of_what_is_offered(make):
    environment, params = make(num_actions=ARMS, min_actions=1)
    state = environment.init(jax.random.key(1), params)
    context, means = environment.observe(jax.random.key(0), params, state, 50)
    action = jnp.argmax(context.mask, axis=1).astype(jnp.int32)
    _, outcome = environment.respond(jax.random.key(2), params, state, context, means, action)
    mask, means = np.asarray(context.mask), np.asarray(means, np.float64)
    np.testing.assert_allclose(outcome.optimal, np.where(mask, means, -np.inf).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(outcome.uniform, [m[k].mean() for m, k in zip(means, mask, strict=True)], rtol=1e-4)


@each_world
def test_without_a_minimum_the_world_is_as_it_was(make):
    environment, params = make(num_actions=ARMS)
    state = environment.init(jax.random.key(1), params)
    assert environment.observe(jax.random.key(0), params, state, 3)[0].mask is None
    assert offer_some(environment, 0) is environment


def test_the_whole_catalogue_may_be_offered_in_part():
    environment, params = per_arm(arms="all", min_actions=30)
    context, _ = environment.observe(jax.random.key(0), params, (), 500)
    counts = np.asarray(context.mask).sum(axis=1)
    assert (counts.min(), counts.max()) == (30, 40)


@each_world
def test_more_arms_at_least_than_there_are_is_refused(make):
    with pytest.raises(InputError, match="min_actions is 6 of 5 arms; allowed: 0 to 5"):
        make(num_actions=ARMS, min_actions=6)
