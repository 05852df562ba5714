"""Dropout, ensembles and gradient covariances: each by hand, and that they learn."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxbandit._core import prng
from jaxbandit.agents import neural_ensemble, neural_ucb
from jaxbandit.agents.models import networks
from jaxbandit.types import Context, Interaction, Spec
from tests.support import assert_counts, assert_mean, catalogue, f64, make_agent, normal, one_lane, small_world, users

BATCH, ARMS, DIM = 6, 4, 5
NETWORKS = ["fixed", "common_tower", "dot_product"]
LAYERS = {"user_layers": (8, 4), "arm_layers": (8, 4), "common_layers": (6,), "embedding_dim": 3}


def spec_of(network: str) -> Spec:
    return Spec(ARMS, DIM, 0 if network == "fixed" else DIM)


def settings_of(network: str) -> dict:
    return LAYERS if network == "fixed" else {"network": network, **LAYERS}


def module_of(network: str):
    return networks.make_network(spec_of(network), networks.NetworkSettings(**settings_of(network)))


def context_of(network: str) -> Context:
    return users(BATCH, DIM, arms=None if network == "fixed" else normal(2, BATCH, ARMS, DIM))


def seen(network: str) -> Interaction:
    action = jnp.arange(BATCH, dtype=jnp.int32) % ARMS
    weight = jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 1.0])
    return Interaction(context_of(network), action, normal(3, BATCH), weight, jnp.int32(0))


def repeated(network: str, count: int) -> Context:
    """One user, many times."""
    return jax.tree.map(lambda x: jnp.repeat(x[:1], count, axis=0), context_of(network))


def leaves_of(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("network", NETWORKS[1:])
def test_a_dropout_mask_is_one_for_all_arms_of_a_user_and_another_for_each_user(network):
    module, context = module_of(network), repeated(network, 50)
    context = context._replace(arms=jnp.repeat(context.arms[:, :1], ARMS, axis=1))
    params = jax.jit(module.init)(jax.random.key(0), context)
    values = f64(module.apply(params, context, 0.5, rngs={"dropout": jax.random.key(1)}))
    np.testing.assert_allclose(values, np.repeat(values[:, :1], ARMS, axis=1), atol=1e-6)
    assert len(np.unique(values[:, 0].round(5))) > 5


@pytest.mark.parametrize("network", NETWORKS)
def test_no_dropout_is_a_rate_of_zero(network):
    module, context = module_of(network), context_of(network)
    params = jax.jit(module.init)(jax.random.key(0), context)
    none = module.apply(params, context, 0.0, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_allclose(none, module.apply(params, context), atol=1e-6)


def test_dropout_keeps_units_with_their_probability_and_their_mean():
    thinned = networks.thinned(jax.random.key(0), jnp.full((100_000, 1, 1), 3.0), 0.2)
    assert_counts(np.array([np.sum(thinned == 0), np.sum(thinned == 3.75)]), np.array([0.2, 0.8]))


def test_dropout_ts_plays_each_arm_as_often_as_masks_favour_it():
    spec = spec_of("fixed")
    agent = neural_ensemble.neural_dropout_ts(spec, dropout_rate=0.5, **LAYERS)
    state, context = jax.jit(agent.init)(jax.random.key(0)), repeated("fixed", 20_000)
    module = module_of("fixed")
    values = module.apply(state.params, context, 0.5, rngs={"dropout": jax.random.key(5)})
    # Where a mask drops a whole layer arms tie, and are then drawn at random.
    top = np.asarray(values == values.max(axis=1, keepdims=True))
    share = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    action = np.asarray(jax.jit(agent.select)(jax.random.key(1), state, context).action)
    played = np.bincount(action, minlength=ARMS) / len(action)
    assert np.sum(share > 0.02) > 1
    np.testing.assert_allclose(played, share, atol=0.02)


def test_the_bootstrap_draws_weights_of_poisson_and_of_the_exponential_distribution():
    counts = np.asarray(neural_ensemble.sample_weights(jax.random.key(0), "poisson", (1000, 100)))
    assert_counts(np.bincount(counts.astype(int).ravel(), minlength=9)[:7], stats.poisson.pmf(np.arange(7), 1))
    assert set(np.unique(counts)) <= set(range(12))
    weights = np.asarray(neural_ensemble.sample_weights(jax.random.key(0), "exponential", (1000, 100)))
    assert stats.kstest(weights.ravel(), "expon").pvalue > 1e-4


@pytest.mark.parametrize(
    ("network", "priors", "noise"),
    [("fixed", True, False), ("common_tower", False, False), ("dot_product", True, False), ("fixed", True, True)],
)
def test_each_network_takes_its_own_step_on_its_own_weights_and_clips_alone(network, priors, noise):
    spec, batch, clip = spec_of(network), seen(network), 0.05
    agent = neural_ensemble.neural_ensemble_ts(
        spec,
        num_networks=3,
        randomized_priors=priors,
        prior_scale=2.0,
        clip_norm=clip,
        loss="heteroscedastic" if noise else "mse",
        **settings_of(network),
    )
    module, chain = module_of(network), optax.chain(optax.clip_by_global_norm(clip), optax.adam(0.003))
    state, key = jax.jit(agent.init)(jax.random.key(0)), jax.random.key(1)
    after = jax.jit(agent.update)(key, state, batch)
    drawn = neural_ensemble.sample_weights(prng.split(key)[0], "poisson", (BATCH, 3))

    @jax.jit
    def expected(params, prior, weight):
        def mean_loss(params):
            values = module.apply(params, batch.context)
            values = values + 2.0 * module.apply(prior, batch.context) if priors else values
            each = (values[jnp.arange(BATCH), batch.action] - batch.reward) ** 2
            if noise:
                s = module.apply(params, batch.context, noise=True)[1][jnp.arange(BATCH), batch.action]
                each = 0.5 * jnp.exp(-s) * each + 0.5 * s
            return jnp.mean(batch.weight * weight * each)

        with jax.numpy_dtype_promotion("standard"):
            steps, _ = chain.update(jax.grad(mean_loss)(params), chain.init(params), params)
        return optax.apply_updates(params, steps)

    for j in range(3):
        params, prior, got = (
            jax.tree.map(lambda x, j=j: x[j], tree)
            for tree in (state.learned.params, state.prior, after.learned.params)
        )
        # Where a gradient is as small as Adam's eps its rounding counts.
        close = partial(np.testing.assert_allclose, atol=1e-4)
        jax.tree.map(close, got, expected(params, prior, drawn[:, j]))
    jax.tree.map(np.testing.assert_array_equal, after.prior, state.prior)


@pytest.mark.parametrize("priors", [False, True])
def test_an_ensemble_plays_each_arm_as_often_as_its_networks_favour_it(priors):
    spec, context = spec_of("common_tower"), repeated("common_tower", 20_000)
    agent = neural_ensemble.neural_ensemble_ts(
        spec, num_networks=7, randomized_priors=priors, prior_scale=5.0, **settings_of("common_tower")
    )
    state, module = jax.jit(agent.init)(jax.random.key(0)), module_of("common_tower")
    one = jax.tree.map(lambda x: x[:1], context)
    values = jax.jit(jax.vmap(module.apply, (0, None)))(state.learned.params, one)[:, 0]
    if priors:
        values = values + 5.0 * jax.jit(jax.vmap(module.apply, (0, None)))(state.prior, one)[:, 0]
    votes = np.bincount(np.argmax(values, axis=1), minlength=ARMS)
    assert np.sum(votes > 0) > 1
    action = np.asarray(jax.jit(agent.select)(jax.random.key(1), state, context).action)
    assert_counts(np.bincount(action, minlength=ARMS), votes / 7)


def test_weights_of_a_stored_reward_are_drawn_once():
    agent = neural_ensemble.neural_ensemble_ts(spec_of("fixed"), num_networks=3, buffer_size=10, **LAYERS)
    key, batch = jax.random.key(1), seen("fixed")
    rows = jax.jit(agent.update)(key, jax.jit(agent.init)(jax.random.key(0)), batch).learned.buffer.examples
    weight = batch.weight[:, None] * neural_ensemble.sample_weights(prng.split(key)[0], "poisson", (BATCH, 3))
    np.testing.assert_array_equal(rows.weight[:5], weight[batch.weight > 0])


@cache
def one_gradient(network: str):
    """Compiled (params, context of one user, arm) -> prediction, gradient."""
    return jax.jit(jax.value_and_grad(lambda params, one, arm: module_of(network).apply(params, one)[0, arm]))


def by_hand(network: str, params, squares, ridge: float, context: Context):
    """Value and variance of every pair, one jax.grad after the other; the widest layer has 8 units."""
    values, variance = np.zeros((BATCH, ARMS)), np.zeros((BATCH, ARMS))
    for b in range(BATCH):
        one = jax.tree.map(lambda x, b=b: x[b : b + 1], context)
        for k in range(ARMS):
            values[b, k], grads = one_gradient(network)(params, one, k)
            for g, total in zip(leaves_of(grads), leaves_of(squares), strict=True):
                variance[b, k] += np.sum(g.astype(float) ** 2 / (8 * (ridge + total)))
    return values, variance


@pytest.mark.parametrize(("network", "at_once"), [("fixed", 2**20), ("common_tower", 1000), ("dot_product", 1)])
def test_neural_ucb_takes_the_arm_of_the_highest_bound_by_gradients_one_by_one(network, at_once, monkeypatch):
    monkeypatch.setattr(neural_ucb, "AT_ONCE", at_once)
    spec, context = spec_of(network), context_of(network)
    alphas = np.geomspace(0.1, 10, 40).astype(np.float32)

    def made(alpha):
        return neural_ucb.neural_ucb(spec, alpha=alpha, tikhonov_weight=0.1, ties="first", **settings_of(network))

    agent = made(1.0)
    state, update = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.update)
    for number in range(3):
        state = update(jax.random.key(number), state, seen(network))
    values, variance = by_hand(network, state.learned.params, state.squares, 0.1, context)
    best = np.array([np.argmax(values + alpha * np.sqrt(variance), axis=1) for alpha in alphas])
    assert len({tuple(row) for row in best}) > 2  # so that other bounds would be seen
    select = jax.jit(jax.vmap(lambda alpha: made(alpha).select(jax.random.key(0), state, context).action))
    np.testing.assert_array_equal(select(alphas), best)


@pytest.mark.parametrize("loss", ["mse", "heteroscedastic"])
@pytest.mark.parametrize("network", NETWORKS)
def test_an_update_adds_the_weighted_squares_of_gradients_of_the_arms_taken_before_training(network, loss):
    agent = neural_ucb.neural_ts(spec_of(network), learning_rate=1.0, loss=loss, **settings_of(network))
    state, batch = jax.jit(agent.init)(jax.random.key(0)), seen(network)
    expected = [np.zeros(leaf.shape) for leaf in leaves_of(state.learned.params)]
    for b in range(BATCH):
        one = jax.tree.map(lambda x, b=b: x[b : b + 1], batch.context)
        _, grads = one_gradient(network)(state.learned.params, one, batch.action[b])
        expected = [e + float(batch.weight[b]) * g**2 / 8 for e, g in zip(expected, leaves_of(grads), strict=True)]
    after = jax.jit(agent.update)(jax.random.key(1), state, batch)
    for got, right in zip(leaves_of(after.squares), expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-7)


def test_neural_ts_draws_scores_of_the_variance_of_the_paper():
    spec, ridge, alpha = Spec(2, DIM, DIM), 0.25, 0.2
    agent = neural_ucb.neural_ts(spec, alpha=alpha, tikhonov_weight=ridge, **LAYERS)
    arms = jnp.repeat(normal(2, 1, 2, DIM), 20_000, axis=0)
    context = Context(jnp.repeat(normal(1, 1, DIM), 20_000, axis=0), jnp.zeros(20_000, jnp.int32), arms=arms)
    state = jax.jit(agent.init)(jax.random.key(0))
    one, value, variance = jax.tree.map(lambda x: x[:1], context), [], []
    for k in range(2):
        mean, grads = one_gradient("common_tower")(state.learned.params, one, k)
        value.append(float(mean))
        variance.append(sum(np.sum(g.astype(float) ** 2 / (8 * ridge)) for g in leaves_of(grads)))
    width = alpha * np.sqrt(ridge * sum(variance))
    first = stats.norm.cdf((value[0] - value[1]) / width)
    assert 0.1 < abs(first - 0.5) < 0.48, first  # so that another width would be seen
    action = jax.jit(agent.select)(jax.random.key(1), state, context).action
    assert_mean(np.asarray(action == 0, float), first)


def test_items_of_a_catalogue_get_the_bounds_of_arms_of_their_own():
    items = catalogue(7, DIM)
    spec = Spec(7, DIM, DIM)
    agent = neural_ucb.neural_ucb(spec, ties="first", **LAYERS)
    state, select = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.select)
    own = users(BATCH, DIM, arms=jnp.repeat(items.features[None], BATCH, axis=0))
    actions = [select(jax.random.key(0), state, c).action for c in (own, users(BATCH, DIM, catalogue=items))]
    np.testing.assert_array_equal(*actions)


@pytest.mark.parametrize(
    ("spec", "network", "width"),
    [(Spec(3, 2, 0), "common_tower", 9), (Spec(3, 2, 2), "common_tower", 20), (Spec(3, 2, 2), "dot_product", 30)],
)
def test_the_width_is_that_of_the_widest_layer_in_use(spec, network, width):
    assert networks.widest(spec, networks.NetworkSettings(network, (9,), (10,), (20,), 30)) == width


@pytest.mark.parametrize(
    ("agent", "env"),
    [
        ("neural-dropout-ts", "mf-per-arm"),
        ("neural-ensemble-ts", "mf"),
        ("neural-ucb", "mf"),
        ("neural-ts", "mf-per-arm"),
    ],
)
def test_they_learn(agent, env):
    environment, params = small_world(env)
    layers = {"user_layers": (16,), "arm_layers": (16,), "common_layers": (16,)}
    run = one_lane(environment, params, make_agent(agent, environment, **layers), 32)
    _, sums = run(jax.random.key(0), {"learning_rate": jnp.float32(0.01)}, np.array([0, 300, 600], np.int32))
    by_chance = f64(sums.optimal) - f64(sums.uniform)
    assert sums.regret[-1] < 0.75 * by_chance[-1]
