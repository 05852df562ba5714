"""The neural agents: a step of training by hand, the networks' fast paths, and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS, neural
from jaxbandit.agents.models import training
from jaxbandit.agents.models.networks import NetworkSettings, heads, make_network
from jaxbandit.types import Interaction, Spec
from tests.support import catalogue, f64, make_agent, normal, one_lane, small_world, users

BATCH, ARMS, DIM = 6, 4, 5
NEURAL = [name for name, factory in AGENTS.items() if factory.__module__ == neural.__name__]
NETWORKS = ["fixed", "common_tower", "dot_product"]
TRAINED = [name for name, factory in AGENTS.items() if {"train_every", "user_layers"} <= set(hyperparameters(factory))]
LAYERS = {"user_layers": (8, 4), "arm_layers": (8, 4), "common_layers": (6,), "embedding_dim": 3}


def spec_of(network: str) -> Spec:
    return Spec(ARMS, DIM, 0 if network == "fixed" else DIM)


def networks(network: str) -> str:
    return "common_tower" if network == "fixed" else network


def shape_of(network: str) -> NetworkSettings:
    return NetworkSettings(networks(network), **LAYERS)


def seen(network: str):
    arms = None if network == "fixed" else normal(2, BATCH, ARMS, DIM)
    action = jnp.arange(BATCH, dtype=jnp.int32) % ARMS
    weight = jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 1.0])
    return Interaction(users(BATCH, DIM, arms=arms), action, normal(3, BATCH), weight, jnp.int32(0))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("loss", ["mse", "huber", "heteroscedastic"])
def test_an_update_is_one_adam_step_on_the_weighted_loss_of_the_arms_taken(network, loss):
    settings = {} if network == "fixed" else {"network": network}
    agent = neural.neural_epsilon_greedy(
        spec_of(network), **settings, **LAYERS, loss=loss, learning_rate=0.01, clip_norm=0.1
    )
    module = make_network(spec_of(network), shape_of(network))
    state, batch = jax.jit(agent.init)(jax.random.key(0)), seen(network)

    def mean_loss(params):
        outputs = module.apply(params, batch.context, noise=loss == "heteroscedastic")
        outputs = outputs[..., jnp.arange(BATCH), batch.action]
        f, s = outputs if loss == "heteroscedastic" else (outputs, 0.0)
        error = f - batch.reward
        size = jnp.abs(error)
        each = {
            "mse": error**2,
            "huber": jnp.where(size < 1, 0.5 * error**2, size - 0.5),
            "heteroscedastic": 0.5 * jnp.exp(-s) * error**2 + 0.5 * s,
        }[loss]
        return jnp.mean(batch.weight * each)

    grads = jax.jit(jax.grad(mean_loss))(state.learned.params)
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
    assert norm > 0.1  # so that it is clipped
    # Adam's first step is the sign of the gradient, but for its eps of 1e-8.
    clipped = jax.tree.map(lambda g: g * 0.1 / norm, grads)
    expected = jax.tree.map(lambda p, g: p - 0.01 * g / (jnp.abs(g) + 1e-8), state.learned.params, clipped)
    after = jax.jit(agent.update)(jax.random.key(1), state, batch)
    # Where a gradient is as small as eps its rounding counts.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), after.learned.params, expected)
    np.testing.assert_allclose(after.pulls, [1.5, 3, 0, 1])
    assert after.updates == 1


def test_the_heteroscedastic_loss_is_a_negative_log_likelihood_of_normal_rewards():
    f, s = normal(0, BATCH, ARMS), 5 * normal(1, BATCH, ARMS)
    loss = training.make_loss(spec_of("fixed"), "heteroscedastic", lambda key, params, context: jnp.stack([f, s]))
    batch = training.batch_of(spec_of("fixed"), seen("fixed"))
    mean, scale = (f64(x)[np.arange(BATCH), batch.arm] for x in (f, np.exp(f64(s) / 2)))
    each = -stats.norm.logpdf(f64(batch.reward), mean, scale) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(loss(jax.random.key(0), (), batch), np.mean(f64(batch.weight) * each), rtol=1e-5)


def test_log_variances_are_bounded_and_can_come_back():
    value_and_slope = jax.vmap(jax.value_and_grad(lambda s: heads(lambda: s[None, None], noise=True)[1, 0, 0]))
    bounded, slope = value_and_slope(jnp.array([-1e6, -30.0, -0.5, 0.5, 30.0, 1e6]))
    assert np.abs(bounded).max() <= 10
    np.testing.assert_allclose(bounded[2:4], [-0.5, 0.5], rtol=1e-2)
    assert np.all(slope[1:5] > 1e-3)


@pytest.mark.parametrize(
    ("agent", "network"),
    [
        ("neural-boltzmann", "fixed"),
        ("neural-dropout-ts", "dot_product"),
        ("neural-ensemble-ts", "fixed"),
        ("neural-ucb", "common_tower"),
    ],
)
def test_the_noise_is_learnt_and_actions_do_not_see_it(agent, network):
    settings = {**LAYERS, "network": networks(network)}
    settings |= {"randomized_priors": True} if "randomized_priors" in hyperparameters(AGENTS[agent]) else {}
    plain, noisy = (AGENTS[agent](spec_of(network), **settings, loss=loss) for loss in ("mse", "heteroscedastic"))
    arms = None if network == "fixed" else normal(5, 200, ARMS, DIM)
    context, key = users(200, DIM, arms=arms), jax.random.key(0)
    states = [jax.jit(policy.init)(key) for policy in (plain, noisy)]
    actions = [jax.jit(p.select)(key, s, context).action for p, s in zip((plain, noisy), states, strict=True)]
    np.testing.assert_array_equal(*actions)
    after = jax.jit(noisy.update)(key, states[1], seen(network))
    start, own, trained = (params_of(state) for state in (*states, after))
    assert start.keys() < own.keys()
    jax.tree.map(np.testing.assert_array_equal, start, {path: own[path] for path in start})
    assert all(np.any(trained[path] != own[path]) for path in own.keys() - start.keys())


def params_of(state) -> dict[str, np.ndarray]:
    params = getattr(state, "learned", state).params
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_heteroscedastic_loss_finds_the_noise_of_each_arm_or_user(network):
    settings = {"network": networks(network), **LAYERS, "loss": "heteroscedastic", "learning_rate": 0.01}
    policy = neural.neural_boltzmann(spec_of(network), **settings)
    module = make_network(spec_of(network), shape_of(network))

    def world(key, size):
        user_key, arm_key, key = jax.random.split(key, 3)
        arms = None if network == "fixed" else jax.random.normal(arm_key, (size, ARMS, DIM))
        user = jax.random.uniform(user_key, (size, DIM), minval=-1.0)
        context = users(1, DIM)._replace(user=user, user_id=jnp.zeros(size, jnp.int32), arms=arms)
        each = jnp.array([0.1, 0.3, 1.0, 3.0])[None]
        return key, context, jnp.broadcast_to(each, (size, ARMS)) if network == "fixed" else jnp.exp(user[:, :1])

    def one(number, state):
        key, context, scale = world(jax.random.fold_in(jax.random.key(1), number), 64)
        action = jnp.arange(64, dtype=jnp.int32) % ARMS
        scale = jnp.broadcast_to(scale, (64, ARMS))[jnp.arange(64), action]
        reward = context.user[:, 1] + scale * jax.random.normal(key, (64,))
        return policy.update(key, state, Interaction(context, action, reward, jnp.ones(64), number))

    state = jax.jit(lambda: jax.lax.fori_loop(0, 1500, one, policy.init(jax.random.key(0))))()
    _, context, scale = world(jax.random.key(2), 500)
    f, s = module.apply(state.learned.params, context, noise=True)
    ratio = f64(jnp.exp(s / 2) / scale)
    assert np.all((np.quantile(ratio, 0.1, axis=0) > 0.8) & (np.quantile(ratio, 0.9, axis=0) < 1.3))
    assert np.corrcoef(f64(f[:, 0]), f64(context.user[:, 1]))[0, 1] > 0.9


@pytest.mark.parametrize("network", NETWORKS[1:2])
def test_by_default_training_is_one_step_of_the_chain_per_update_bit_for_bit(network):
    agent = neural.neural_boltzmann(spec_of(network), network=networks(network), **LAYERS)
    module = make_network(spec_of(network), shape_of(network))
    chain = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(0.003))
    state = jax.jit(agent.init)(jax.random.key(0))
    params, optimizer = state.learned.params, chain.init(state.learned.params)
    for number in range(3):
        batch = seen(network)._replace(reward=normal(number, BATCH), round=jnp.int32(number))
        arms = batch.context.arms
        arms = None if arms is None else jnp.take_along_axis(arms, batch.action[:, None, None], axis=1)
        index = batch.action[:, None] if arms is None else jnp.zeros((BATCH, 1), jnp.int32)

        def mean_loss(params, batch=batch, arms=arms, index=index):
            predicted = jnp.take_along_axis(module.apply(params, batch.context._replace(arms=arms)), index, axis=1)
            return jnp.mean(batch.weight * (predicted[:, 0] - batch.reward) ** 2)

        with jax.numpy_dtype_promotion("standard"):
            steps, optimizer = chain.update(jax.grad(mean_loss)(params), optimizer, params)
        params = optax.apply_updates(params, steps)
        state = agent.update(jax.random.key(number), state, batch)
    jax.tree.map(np.testing.assert_array_equal, tuple(state.learned), (params, optimizer, ()))


@pytest.mark.parametrize(("agent", "buffer_size"), [*((agent, 0) for agent in TRAINED), (TRAINED[0], 20)])
def test_an_update_whose_weights_are_all_zero_moves_nothing(agent, buffer_size):
    policy = AGENTS[agent](spec_of("fixed"), **LAYERS, buffer_size=buffer_size)
    update = jax.jit(policy.update)
    before = jax.jit(policy.init)(jax.random.key(0))
    if not buffer_size:  # what is stored already may be learnt again
        before = update(jax.random.key(1), before, seen("fixed"))
    after = update(jax.random.key(2), before, seen("fixed")._replace(weight=jnp.zeros(BATCH)))
    if hasattr(before, "updates"):
        after = after._replace(updates=before.updates)  # it counts calls
    jax.tree.map(np.testing.assert_array_equal, after, before)
    again = update(jax.random.key(2), before, seen("fixed"))
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (again, before)), strict=True))


@pytest.mark.parametrize("network", NETWORKS[:2])
def test_rewards_of_weight_zero_never_come_back_from_the_buffer(network):
    policy = neural.neural_boltzmann(
        spec_of(network), network=networks(network), **LAYERS, buffer_size=4, minibatch_size=16, train_steps=3
    )
    state, batch, update = jax.jit(policy.init)(jax.random.key(0)), seen(network), jax.jit(policy.update)
    other = batch._replace(reward=jnp.where(batch.weight > 0, batch.reward, 1e6))
    one, two = (update(jax.random.key(1), state, each) for each in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert one.learned.buffer.stored == 4
    kept = np.sort(np.asarray(batch.reward)[np.asarray(batch.weight) > 0][-4:])
    np.testing.assert_array_equal(np.sort(one.learned.buffer.examples.reward), kept)


@pytest.mark.parametrize("network", NETWORKS[:2])
def test_minibatches_of_a_buffer_of_equal_rows_train_as_the_batch_does(network):
    batch = jax.tree.map(lambda x: jnp.repeat(x[:1], BATCH, axis=0) if x.ndim else x, seen(network))
    settings, ends = {"network": networks(network), **LAYERS, "train_steps": 3}, []
    for buffer_size in (0, 50):
        policy = neural.neural_boltzmann(spec_of(network), **settings, buffer_size=buffer_size, minibatch_size=BATCH)
        state, update = jax.jit(policy.init)(jax.random.key(0)), jax.jit(policy.update)
        for number in range(3):
            state = update(jax.random.key(number), state, batch)
        ends.append(state.learned.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *ends)


def test_several_steps_on_a_batch_equal_several_updates():
    policy, steps = (neural.neural_boltzmann(spec_of("fixed"), **LAYERS, train_steps=n) for n in (1, 3))
    start = state = jax.jit(policy.init)(jax.random.key(0))
    for _ in range(3):
        state = jax.jit(policy.update)(jax.random.key(1), state, seen("fixed"))
    at_once = jax.jit(steps.update)(jax.random.key(1), start, seen("fixed"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), at_once.learned, state.learned)


def test_training_waits_for_its_round_and_the_buffer_fills_meanwhile():
    policy = neural.neural_boltzmann(spec_of("fixed"), **LAYERS, buffer_size=50, train_every=3)
    state = start = jax.jit(policy.init)(jax.random.key(0))
    moved, update = [], jax.jit(policy.update)
    for number in range(6):
        before = state
        state = update(jax.random.key(1), before, seen("fixed")._replace(round=jnp.int32(number)))
        pairs = zip(jax.tree.leaves(state.learned.params), jax.tree.leaves(before.learned.params), strict=True)
        moved.append(any(np.any(a != b) for a, b in pairs))
        assert state.learned.buffer.stored == 5 * (number + 1)
    assert moved == [False, False, True, False, False, True]
    assert jax.tree.structure(state) == jax.tree.structure(start)


def test_rounds_without_training_skip_its_work_in_all_lanes():
    policy = neural.neural_boltzmann(spec_of("fixed"), **LAYERS, buffer_size=50, train_every=3, train_steps=5)
    states = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 4))
    lanes = jax.vmap(policy.update, in_axes=(None, 0, None))
    equations = jax.make_jaxpr(lanes)(jax.random.key(1), states, seen("fixed")).eqns
    names = [equation.primitive.name for equation in equations]
    assert "cond" in names
    assert not {"while", "scan"} & set(names)


@pytest.mark.parametrize("network", NETWORKS[1:])
@pytest.mark.parametrize("num_items", [7, 200])
def test_items_of_a_catalogue_are_scored_as_arms_of_their_own(network, num_items):
    module = make_network(spec_of(network), shape_of(network))
    items = catalogue(num_items, DIM)
    arm_id = jnp.asarray(np.random.default_rng(0).integers(0, num_items, (BATCH, ARMS)), jnp.int32)
    own = users(BATCH, DIM, arms=items.features[arm_id])
    params = module.init(jax.random.key(0), own)
    expected = module.apply(params, own)
    offered = module.apply(params, users(BATCH, DIM, catalogue=items, arm_id=arm_id))
    whole = module.apply(params, users(BATCH, DIM, catalogue=items))
    np.testing.assert_allclose(offered, expected, atol=1e-5)
    np.testing.assert_allclose(jnp.take_along_axis(whole, arm_id, axis=1), expected, atol=1e-5)


@pytest.mark.parametrize("env", ["mf", "mf-per-arm"])
@pytest.mark.parametrize("agent", NEURAL)
def test_neural_agents_learn(agent, env):
    environment, params = small_world(env)
    run = one_lane(environment, params, make_agent(agent, environment, user_layers=(16,)), 32)
    _, sums = run(jax.random.key(0), {"learning_rate": jnp.float32(0.01)}, np.array([0, 500, 1000], np.int32))
    by_chance = f64(sums.optimal) - f64(sums.uniform)
    # A wide margin: the exploration of the defaults keeps regret far above 0.
    assert sums.regret[-1] < 0.75 * by_chance[-1]


def test_a_buffer_trained_now_and_then_learns_too():
    environment, params = small_world("mf-per-arm")
    buffered = {"buffer_size": 2000, "minibatch_size": 64, "train_every": 4, "train_steps": 4, "user_layers": (16,)}
    run = one_lane(environment, params, make_agent("neural-epsilon-greedy", environment, **buffered), 32)
    _, sums = run(jax.random.key(0), {"learning_rate": jnp.float32(0.01)}, np.array([0, 500, 1000], np.int32))
    assert sums.regret[-1] < 0.75 * (f64(sums.optimal) - f64(sums.uniform))[-1]


def test_a_schedule_of_the_update_count_sets_epsilon():
    epsilon = optax.linear_schedule(1.0, 0.0, 10)
    agent = neural.neural_epsilon_greedy(spec_of("fixed"), **LAYERS, epsilon=epsilon, ties="first")
    state = jax.jit(agent.init)(jax.random.key(0))
    context = users(2_000, DIM)
    best = jnp.argmax(make_network(spec_of("fixed"), shape_of("fixed")).apply(state.learned.params, context), axis=1)
    share = [
        float(jnp.mean(agent.select(jax.random.key(1), state._replace(updates=jnp.int32(n)), context).action == best))
        for n in (0, 10)
    ]
    assert share[0] == pytest.approx(1 / ARMS, abs=0.05)
    assert share[1] == 1.0
