"""The normal-inverse-gamma posterior and nig-lints: the textbook in float64, exact laws of its draws, forced pulls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxbandit.agents.models import features, normal_inverse_gamma
from jaxbandit.agents.models.normal_inverse_gamma import NIG
from jaxbandit.agents.nig_lints import nig_lints
from jaxbandit.types import Interaction, Spec, chosen_arms
from tests.reference.nig import posterior as textbook
from tests.support import f64, make_agent, normal, one_lane, small_world, users

ARMS, DIM, RIDGE, A0, B0 = 4, 3, 0.25, 6.0, 5.0
update = jax.jit(partial(normal_inverse_gamma.update, tikhonov_weight=RIDGE))


def rows(count: int, dim: int = DIM, offset: float = 0.0):
    """Features, rewards and weights 0, .5, 1, 2 of some rows, and the model of each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, dim))
    reward = x @ np.arange(1, dim + 1) + 0.3 * rng.standard_normal(count) + offset
    weight = rng.choice([0.0, 0.5, 1.0, 2.0], count)
    return rng.integers(0, ARMS, count).astype(np.int32), *(a.astype(np.float32) for a in (x, reward, weight))


def learned(batch: int, model, x, reward, weight) -> NIG:
    """Posteriors after the rows, `batch` of them at a time."""
    state = normal_inverse_gamma.init(x.shape[1], ARMS, RIDGE)
    for start in range(0, len(x), batch):
        now = slice(start, start + batch)
        state = update(state, model[now], x[now], reward[now], weight[now])
    return state


# One at a time; fewer than models; no more than features; more than features, which takes another formula.
@pytest.mark.parametrize("batch", [1, 2, 5, 60])
def test_posteriors_equal_the_textbook_however_the_rows_are_cut_into_batches(batch):
    model, *data = rows(240, 5)
    state = learned(batch, model, *data)
    for k in range(ARMS):
        _, mean, shape, scale = textbook(*(f64(part)[model == k] for part in data), RIDGE)
        np.testing.assert_allclose(state.solution.mean[k], mean, atol=1e-4)
        np.testing.assert_allclose(state.shape[k], shape)
        np.testing.assert_allclose(state.scale[k], scale, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 500])
def test_a_noise_scale_far_below_the_rewards_does_not_cancel(batch):
    # Rewards of about 40 with noise of .01: the textbook's difference of sums of 3e6 would be off by 0.3 in float32.
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2000, 3)).astype(np.float32)
    reward = (x @ np.array([10.0, 20.0, 30.0]) + 0.01 * rng.standard_normal(2000)).astype(np.float32)
    weight, model = np.ones(2000, np.float32), np.zeros(2000, np.int32)
    state = normal_inverse_gamma.init(3, 1, 1e-3)
    for start in range(0, 2000, batch):
        now = slice(start, start + batch)
        state = update(state, model[now], x[now], reward[now], weight[now], tikhonov_weight=1e-3)
    expected = textbook(f64(x), f64(reward), f64(weight), 1e-3)[3]
    assert 0.5 < expected < 1.0
    np.testing.assert_allclose(state.scale[0], expected, rtol=0.01)


def test_rows_of_weight_0_change_nothing_in_a_small_and_in_a_large_batch():
    model, x, reward, _ = rows(30)
    old = learned(30, *rows(30))
    for count in (1, 3, 30):
        same = update(old, model[:count], x[:count], reward[:count], np.zeros(count, np.float32))
        for name in ("gaussian", "solution", "shape"):
            jax.tree.map(partial(np.testing.assert_array_equal, err_msg=name), getattr(same, name), getattr(old, name))
        np.testing.assert_allclose(same.scale, old.scale, rtol=1e-6)


@pytest.mark.parametrize("shape", [0.3, 1.0, 6.0, 5000.0])
def test_gamma_draws_have_the_law_of_gamma(shape):
    draws = f64(normal_inverse_gamma.gamma(jax.random.key(0), jnp.full(50_000, shape)))
    assert stats.kstest(draws, stats.gamma(shape).cdf).pvalue > 1e-4


def test_scores_have_the_law_of_students_t():
    model, *data = rows(60)
    state, x = learned(60, model, *data), normal(9, DIM)
    draws = f64(normal_inverse_gamma.sample_scores(jax.random.key(0), state, jnp.tile(x, (20_000, 1)), A0, B0))
    for k in range(ARMS):
        precision, mean, shape, scale = textbook(*(f64(part)[model == k] for part in data), RIDGE)
        a, b = A0 + shape, B0 + scale
        width = np.sqrt(b / a * (f64(x) @ np.linalg.solve(precision, f64(x))))
        assert stats.kstest((draws[:, k] - f64(x) @ mean) / width, stats.t(2 * a).cdf).pvalue > 1e-4
    # Draws of two arms, and of one arm for two users, know nothing of each other.
    standard = (draws - draws.mean(axis=0)) / draws.std(axis=0)
    assert np.all(abs(np.corrcoef(standard.T)[np.triu_indices(ARMS, 1)]) < 4 / np.sqrt(len(draws)))
    assert np.all(abs(np.mean(standard[1:] * standard[:-1], axis=0)) < 4 / np.sqrt(len(draws)))


def test_parameters_of_a_shared_model_have_a_variance_of_their_own_in_each_draw():
    _, x, reward, weight = rows(8)
    state = update(normal_inverse_gamma.init(DIM, 1, RIDGE), np.zeros(8, np.int32), x, reward, weight)
    precision, mean, shape, scale = textbook(f64(x), f64(reward), f64(weight), RIDGE)
    draws = f64(normal_inverse_gamma.sample_parameters(jax.random.key(0), state, 1.0, 1.0, 20_000))
    a, b = 1.0 + shape, 1.0 + scale
    # (beta - mu)'Lambda(beta - mu) / d has the law of b / a F(d, 2a): with one variance for all it would be chi-square.
    distance = np.einsum("ni,ij,nj->n", draws - mean, precision, draws - mean) / DIM
    assert stats.kstest(distance * a / b, stats.f(DIM, 2 * a).cdf).pvalue > 1e-4


def offer(batch: int, arm_dim: int, mask=None):
    return users(batch, DIM, mask=mask, arms=normal(2, batch, ARMS, arm_dim) if arm_dim else None)


@pytest.mark.parametrize("kind", ["fixed", "concat", "hadamard", "outer"])
def test_the_agent_learns_the_textbook_posterior_of_features_with_an_intercept(kind):
    spec = Spec(ARMS, DIM, 0 if kind == "fixed" else DIM)
    agent = nig_lints(spec, tikhonov_weight=RIDGE, features="concat" if kind == "fixed" else kind)
    model, _, reward, weight = rows(40)
    context = offer(40, spec.arm_dim)
    seen = Interaction(context, jnp.asarray(model), jnp.asarray(reward), jnp.asarray(weight), jnp.int32(0))
    state = agent.update(jax.random.key(0), agent.init(jax.random.key(0)), seen)
    if kind == "fixed":
        known, x = state.posterior, np.c_[f64(context.user), np.ones(40)]
    else:
        known, model = state, 0 * model
        x = f64(features.joint(kind, True, context.user, chosen_arms(context, seen.action)))
    for k in np.unique(model):
        mine = model == k
        _, mean, shape, scale = textbook(x[mine], f64(reward)[mine], f64(weight)[mine], RIDGE)
        np.testing.assert_allclose(known.solution.mean[k], mean, atol=1e-4)
        np.testing.assert_allclose([known.shape[k], known.scale[k]], [shape, scale], rtol=1e-4)


@pytest.mark.parametrize("arm_dim", [0, DIM])
def test_arms_are_allowed_also_where_the_noise_may_be_anything(arm_dim):
    agent = nig_lints(Spec(ARMS, DIM, arm_dim), a0=0.01, b0=B0, initial_pulls=0)
    mask = np.tile([True, False, True, True], (4_000, 1))
    context = users(4_000, DIM, mask=mask, arms=normal(2, 4_000, ARMS, arm_dim) if arm_dim else None)
    action = np.asarray(agent.select(jax.random.key(1), agent.init(jax.random.key(0)), context).action)
    assert np.all(np.bincount(action, minlength=ARMS)[[0, 2, 3]] > 100)
    assert not np.any(action == 1)


@pytest.mark.parametrize("arm_dim", [0, DIM])
def test_actions_are_the_best_of_the_allowed_scores_drawn_for_each_user(arm_dim):
    agent = nig_lints(Spec(ARMS, DIM, arm_dim), a0=A0, b0=B0, initial_pulls=0)
    mask = np.tile([True, False, True, True], (4_000, 1))
    context = offer(1, arm_dim)
    context = jax.tree.map(lambda leaf: jnp.tile(leaf, (4_000,) + (1,) * (leaf.ndim - 1)), context)
    state = agent.init(jax.random.key(0))
    action = agent.select(jax.random.key(1), state, context._replace(mask=jnp.asarray(mask))).action
    counts = np.bincount(np.asarray(action), minlength=ARMS)
    assert counts[1] == 0
    assert np.all(counts[[0, 2, 3]] > 100)  # users in the same place draw differently
    if not arm_dim:
        np.testing.assert_allclose(counts[[0, 2, 3]] / 4_000, 1 / 3, atol=0.04)


def test_the_first_users_pull_fixed_arms_in_turn_as_the_mask_allows():
    agent = nig_lints(Spec(ARMS, DIM, 0), initial_pulls=2)
    key = jax.random.key(0)
    state, taken = agent.init(key), []
    select = jax.jit(agent.select)
    for n in range(3):
        context = offer(3, 0)
        taken.extend(np.asarray(select(key, state, context).action).tolist())
        seen = Interaction(context, jnp.zeros(3, jnp.int32), jnp.zeros(3), jnp.zeros(3), jnp.int32(n))
        state = agent.update(key, state, seen)
    assert taken[:8] == [0, 1, 2, 3, 0, 1, 2, 3]
    blocked = offer(4, 0, mask=np.tile([False, True, True, True], (4, 1)))
    assert np.asarray(select(key, agent.init(key), blocked).action).tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize("env", ["linear", "linear-per-arm"])
def test_nig_lints_learns(env):
    environment, params = small_world(env)
    run = one_lane(environment, params, make_agent("nig-lints", environment), 8)
    _, sums = run(jax.random.key(0), {"a0": jnp.float32(6.0)}, np.array([0, 300, 600], np.int32))
    by_chance = f64(sums.optimal) - f64(sums.uniform)
    # Noise is small beside the differences of arms in both worlds: nearly all of the regret is in the beginning.
    assert sums.regret[-1] < 0.05 * by_chance[-1]


def test_both_ways_take_the_first_proposal_that_is_accepted():
    accepted, proposals = normal(0, 4, 50) > 0.5, normal(1, 4, 50)
    assert not accepted.any(axis=0).all()
    first = normal_inverse_gamma._first(accepted, proposals)
    np.testing.assert_array_equal(normal_inverse_gamma._first_in_turn(accepted, proposals), first)
