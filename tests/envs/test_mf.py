"""The worlds made of ratings, on a small generated set: what is offered, seen and paid."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import Ratings
from jaxbandit.data.factorization import factorize
from jaxbandit.envs.matrix_factorization.worlds import mf, mf_per_arm
from jaxbandit.types import offered_arms
from tests.support import assert_counts, f64, small_ratings

SIZES = {"num_actions": 5, "rank_k": 3}
ROUNDS = 4_000
FORMS = [partial(mf, **SIZES), partial(mf_per_arm, **SIZES)]
each_form = pytest.mark.parametrize("form", FORMS, ids=["fixed", "per-arm"])


def observe(form, batch: int, **settings):
    environment, params = form(small_ratings(), **settings)
    context, means = environment.observe(jax.random.key(0), params, (), batch)
    return environment, params, context, means


def truth() -> np.ndarray:
    """True utilities of all pairs."""
    world = small_ratings().truth
    return world.mean + world.user_bias[:, None] + world.item_bias + world.user @ world.item.T


@each_form
@pytest.mark.parametrize("factorizer", ["svd", "residual_svd", "truth"])
def test_rewards_are_the_approximate_ratings_of_the_pairs_offered(form, factorizer):
    settings = {} if factorizer != "truth" else {"rank_k": 16}
    if form.func is mf and factorizer == "svd":
        settings["num_actions"] = small_ratings().num_items  # else the factorisation is of fewer items
    environment, _, context, means = observe(form, 30, factorizer=factorizer, **settings)
    factors = factorize(small_ratings(), factorizer, settings.get("rank_k", 3))
    everything = np.arange(environment.spec.num_actions)
    arm = np.tile(everything, (30, 1)) if context.arm_id is None else np.asarray(context.arm_id)
    user = np.repeat(np.asarray(context.user_id), arm.shape[1])
    expected = factors.predict(user, arm.ravel()).reshape(arm.shape)
    np.testing.assert_allclose(means, expected, atol=1e-4)  # standardised columns are multiplied back in float32
    if factorizer == "truth":
        np.testing.assert_allclose(means, truth()[user, arm.ravel()].reshape(arm.shape), atol=1e-4)


@pytest.mark.parametrize("kind", ["gaussian", "star", "binary"])
def test_draws_of_every_kind_of_reward_have_the_mean_reward_as_their_mean(kind):
    environment, params, context, means = observe(FORMS[1], 50, factorizer="residual_svd", reward=kind)
    action = jnp.zeros(50, jnp.int32)
    pay = jax.jit(jax.vmap(lambda key: environment.respond(key, params, (), context, means, action)[1]))
    outcome = pay(jax.random.split(jax.random.key(3), ROUNDS))
    reward = f64(outcome.reward)
    np.testing.assert_allclose(outcome.expected[0], means[:, 0])
    error = reward.std(axis=0) / np.sqrt(ROUNDS)
    # 50 users, each within 4.5 standard errors; a reward that never varies is its mean up to rounding.
    assert np.all(abs(reward.mean(axis=0) - f64(means[:, 0])) <= 4.5 * error + 1e-5)
    values = {"gaussian": None, "star": {1, 2, 3, 4, 5}, "binary": {0, 1}}[kind]
    assert values is None or set(np.unique(reward)) <= values


def test_the_mean_of_a_binary_reward_is_the_chance_of_four_or_five_stars():
    _, _, _, rating = observe(FORMS[1], 50, factorizer="residual_svd")
    _, _, _, means = observe(FORMS[1], 50, factorizer="residual_svd", reward="binary")
    share = (f64(rating) - 1) / 4  # a star is 1 + Binomial(4, share)
    np.testing.assert_allclose(means, 4 * share**3 * (1 - share) + share**4, atol=1e-5)


@each_form
def test_regret_is_on_means_whatever_is_paid(form):
    environment, params, context, means = observe(form, 30, factorizer="residual_svd", reward="star")
    _, outcome = environment.respond(jax.random.key(1), params, (), context, means, jnp.ones(30, jnp.int32))
    np.testing.assert_array_equal(outcome.expected, means[:, 1])
    np.testing.assert_array_equal(outcome.optimal, means.max(axis=1))
    assert not np.array_equal(outcome.reward, outcome.expected)


def test_without_a_kind_of_reward_the_mean_is_paid():
    environment, params, context, means = observe(FORMS[1], 30, factorizer="residual_svd")
    _, outcome = environment.respond(jax.random.key(1), params, (), context, means, jnp.ones(30, jnp.int32))
    np.testing.assert_array_equal(outcome.reward, outcome.expected)


@pytest.mark.parametrize("kind", ["star", "binary"])
def test_star_rewards_need_a_rating_scale(kind):
    with pytest.raises(InputError, match=rf"reward is '{kind}'.*expected \| gaussian"):
        mf_per_arm(small_ratings(), **SIZES, factorizer="svd", reward=kind)


@pytest.mark.parametrize("users", ["uniform", "activity"])
def test_users_of_a_batch_are_distinct_where_arms_are_fixed(users):
    _, _, context, _ = observe(FORMS[0], 60, factorizer="residual_svd", users=users)
    assert sorted(np.asarray(context.user_id).tolist()) == list(range(60))
    with pytest.raises(InputError, match=r"batch_size is 61.*there are 60: allowed: 1 to 60"):
        observe(FORMS[0], 61, factorizer="residual_svd", users=users)


@each_form
def test_users_are_drawn_uniformly_or_by_activity(form):
    activity = np.bincount(small_ratings().user, minlength=60)
    for users, weight in (("uniform", np.ones(60)), ("activity", activity)):
        environment, params = form(small_ratings(), factorizer="residual_svd", users=users)

        def first(key, environment=environment, params=params):
            return environment.observe(key, params, (), 1)[0].user_id[0]

        drawn = jax.jit(jax.vmap(first))(jax.random.split(jax.random.key(0), 20_000))
        assert_counts(np.bincount(np.asarray(drawn), minlength=60), weight / weight.sum())


def test_arms_are_drawn_uniformly_or_by_popularity_and_never_twice():
    popularity = np.maximum(np.bincount(small_ratings().item, minlength=40), 0.5)
    for arms, weight in (("uniform", np.ones(40)), ("popularity", popularity)):
        _, _, context, _ = observe(FORMS[1], 20_000, factorizer="residual_svd", arms=arms)
        arm = np.asarray(context.arm_id)
        assert_counts(np.bincount(arm[:, 0], minlength=40), weight / weight.sum())
        assert np.all(np.diff(np.sort(arm, axis=1), axis=1) > 0)


def test_the_whole_catalogue_can_be_offered():
    environment, params, context, means = observe(FORMS[1], 30, factorizer="residual_svd", arms="all")
    assert environment.spec.num_actions == 40
    assert context.arm_id is None
    assert means.shape == (30, 40)
    np.testing.assert_array_equal(offered_arms(context)[0], params.catalogue.features)


@each_form
def test_standardize_changes_what_is_seen_and_not_what_is_paid(form):
    _, params, plain, means = observe(form, 30, factorizer="residual_svd", standardize=False)
    _, scaled_params, scaled, scaled_means = observe(form, 30, factorizer="residual_svd", standardize=True)
    np.testing.assert_allclose(scaled_means, means, atol=1e-4)
    assert not np.allclose(scaled.user, plain.user)
    np.testing.assert_allclose(np.mean(f64(scaled_params.user) ** 2, axis=0), 1, rtol=1e-4)
    assert np.all(params.user.std(axis=0)[:3] > 0)


@each_form
def test_what_is_seen_may_come_from_another_fit_than_what_is_paid(form):
    _, _, same, means = observe(form, 30, factorizer="residual_svd")
    _, _, other, other_means = observe(form, 30, factorizer="residual_svd", observation="als")
    np.testing.assert_allclose(other_means, means, atol=1e-4)
    assert other.user.shape == same.user.shape
    assert not np.allclose(other.user, same.user, atol=0.01)


@each_form
def test_side_features_are_seen_and_pay_nothing(form):
    plain = small_ratings()
    rng = np.random.default_rng(0)
    sides = {"user_features": rng.integers(0, 50, (60, 3)), "item_features": rng.integers(0, 2, (40, 2))}
    sides = {side: columns.astype(np.float32) for side, columns in sides.items()}
    ratings = Ratings(**{**plain.__dict__, **sides})
    environment, params = form(ratings, factorizer="residual_svd", side_features=True)
    context, means = environment.observe(jax.random.key(0), params, (), 30)
    _, _, seen, expected = observe(form, 30, factorizer="residual_svd")
    np.testing.assert_allclose(means, expected, atol=1e-5)
    np.testing.assert_allclose(context.user[:, :-3], seen.user, atol=1e-6)
    np.testing.assert_allclose(params.user[:, -3:].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(params.user[:, -3:].std(axis=0), 1, rtol=1e-5)
    assert environment.spec.user_dim == context.user.shape[1]
    assert environment.spec.arm_dim in (0, params.catalogue.features.shape[1])
    with pytest.raises(InputError, match="side_features is true, but small has none"):
        form(plain, side_features=True, factorizer="residual_svd")


def test_fixed_svd_of_full_rank_pays_the_ratings_themselves():
    ratings = small_ratings()
    environment, params = mf(ratings, num_actions=6, rank_k=6, factorizer="svd")
    users = np.unique(ratings.user[ratings.item < 6])
    context, means = environment.observe(jax.random.key(0), params, (), len(users))
    table = np.zeros((60, 40))
    table[ratings.user, ratings.item] = ratings.rating
    np.testing.assert_allclose(means, table[users][np.asarray(context.user_id), :6], atol=1e-4)
    # The observation is U sqrt(S): (U S U')^2 = U S^2 U' is the Gram matrix of the ratings.
    gram = f64(params.user) @ f64(params.user).T
    np.testing.assert_allclose(gram @ gram, table[users, :6] @ table[users, :6].T, atol=1e-3)
    np.testing.assert_array_equal(context.user, params.user[context.user_id])


def test_more_arms_than_items_are_refused():
    for form in (mf, mf_per_arm):
        with pytest.raises(InputError, match="num_actions is 41; small has 40 items: allowed: 2 to 40"):
            form(small_ratings(), num_actions=41, rank_k=3)


def test_a_misspecified_world_tells_how_good_both_fits_are():
    environment, _ = mf_per_arm(small_ratings(), factorizer="truth", observation="residual_svd", **SIZES)
    assert environment.facts["factorizer"] == "truth"
    assert environment.facts["truth_correlation"] == pytest.approx(1, abs=1e-6)
    seen = environment.facts["observation"]
    assert seen["factorizer"] == "residual_svd"
    assert seen["truth_correlation"] < 0.99


@each_form
@pytest.mark.parametrize(("factorizer", "observation"), [("residual_svd", "svd"), ("svd", "residual_svd")])
def test_automatic_scaling_goes_by_the_fit_that_is_observed(form, factorizer, observation):
    _, params = form(small_ratings(), factorizer=factorizer, observation=observation)
    rms = np.sqrt(np.mean(f64(params.user) ** 2, axis=0))
    # Scaled columns have a root mean square of 1 to float32 rounding; those of a plain SVD of 60 users are far from it.
    assert np.allclose(rms, 1, atol=1e-5) == (observation != "svd")


@each_form
def test_rewards_lie_in_the_range_that_the_world_tells(form):
    ranges = {"expected": (1.0, 5.0), "star": (1.0, 5.0), "binary": (0.0, 1.0), "gaussian": (-np.inf, np.inf)}
    for kind, (low, high) in ranges.items():
        environment, params, context, means = observe(form, 50, factorizer="residual_svd", reward=kind)
        assert environment.spec.reward_range == (low, high)
        _, outcome = environment.respond(jax.random.key(1), params, (), context, means, jnp.zeros(50, jnp.int32))
        assert np.all((outcome.reward >= low) & (outcome.reward <= high))
    for factorizer in ("svd", "truth"):  # no scale clips them
        assert observe(form, 5, factorizer=factorizer)[0].spec.reward_range == (-np.inf, np.inf)
