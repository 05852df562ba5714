"""The neural agents: a step of training by hand, the networks' fast paths, and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbandit.agents import AGENTS, neural
from jaxbandit.hyperparameters import hyperparameters
from jaxbandit.networks import make_network
from jaxbandit.types import Interaction, Spec

from .support import catalogue, f64, make_agent, normal, one_lane, small_world, users

BATCH, ARMS, DIM = 6, 4, 5
NEURAL = [name for name, factory in AGENTS.items() if factory.__module__ == neural.__name__]
NETWORKS = ["fixed", "common_tower", "dot_product"]
TRAINED = [name for name, factory in AGENTS.items() if {"train_every", "user_layers"} <= set(hyperparameters(factory))]
LAYERS = {"user_layers": (8, 4), "arm_layers": (8, 4), "common_layers": (6,), "embedding_dim": 3}


def spec_of(network: str) -> Spec:
    return Spec(ARMS, DIM, 0 if network == "fixed" else DIM)


def networks(network: str) -> str:
    return "common_tower" if network == "fixed" else network


def seen(network: str):
    arms = None if network == "fixed" else normal(2, BATCH, ARMS, DIM)
    action = jnp.arange(BATCH, dtype=jnp.int32) % ARMS
    weight = jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 1.0])
    return Interaction(users(BATCH, DIM, arms=arms), action, normal(3, BATCH), weight, jnp.int32(0))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_an_update_is_one_adam_step_on_the_weighted_loss_of_the_arms_taken(network, loss):
    settings = {} if network == "fixed" else {"network": network}
    agent = neural.neural_epsilon_greedy(
        spec_of(network), **settings, **LAYERS, loss=loss, learning_rate=0.01, clip_norm=0.1
    )
    module = make_network(spec_of(network), network, *LAYERS.values())
    state, batch = jax.jit(agent.init)(jax.random.key(0)), seen(network)

    def mean_loss(params):
        error = module.apply(params, batch.context)[jnp.arange(BATCH), batch.action] - batch.reward
        size = jnp.abs(error)
        each = {"mse": error**2, "huber": jnp.where(size < 1, 0.5 * error**2, size - 0.5)}[loss]
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


@pytest.mark.parametrize("network", NETWORKS[1:2])
def test_by_default_training_is_one_step_of_the_chain_per_update_bit_for_bit(network):
    agent = neural.neural_boltzmann(spec_of(network), network=networks(network), **LAYERS)
    module = make_network(spec_of(network), network, *LAYERS.values())
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
    np.testing.assert_array_equal(np.sort(one.learned.buffer.rows.reward), kept)


@pytest.mark.parametrize("network", NETWORKS[:2])
def test_minibatches_of_a_buffer_of_equal_rows_train_as_the_batch_does(network):
    batch = jax.tree.map(lambda x: jnp.repeat(x[:1], BATCH, axis=0) if x.ndim else x, seen(network))
    settings = {"network": networks(network), **LAYERS, "train_steps": 3}
    ends = []
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
    module = make_network(spec_of(network), network, *LAYERS.values())
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
    best = jnp.argmax(make_network(spec_of("fixed"), "", *LAYERS.values()).apply(state.learned.params, context), axis=1)
    share = [
        float(jnp.mean(agent.select(jax.random.key(1), state._replace(updates=jnp.int32(n)), context).action == best))
        for n in (0, 10)
    ]
    assert share[0] == pytest.approx(1 / ARMS, abs=0.05)
    assert share[1] == 1.0
