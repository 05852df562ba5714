"""The neural agents: a step of training by hand, the networks' fast paths, and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbandit.agents import AGENTS, neural
from jaxbandit.types import Interaction, Spec

from .support import catalogue, f64, make_agent, normal, one_lane, small_world, users

BATCH, ARMS, DIM = 6, 4, 5
NEURAL = [name for name, factory in AGENTS.items() if factory.__module__ == neural.__name__]
NETWORKS = ["fixed", "common_tower", "dot_product"]
LAYERS = {"user_layers": (8, 4), "arm_layers": (8, 4), "common_layers": (6,), "embedding_dim": 3}


def spec_of(network: str) -> Spec:
    return Spec(ARMS, DIM, 0 if network == "fixed" else DIM)


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
    module = neural.make_network(spec_of(network), network, *LAYERS.values())
    state, batch = agent.init(jax.random.key(0)), seen(network)

    def mean_loss(params):
        error = module.apply(params, batch.context)[jnp.arange(BATCH), batch.action] - batch.reward
        size = jnp.abs(error)
        each = {"mse": error**2, "huber": jnp.where(size < 1, 0.5 * error**2, size - 0.5)}[loss]
        return jnp.mean(batch.weight * each)

    grads = jax.grad(mean_loss)(state.params)
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
    assert norm > 0.1  # so that it is clipped
    # Adam's first step is the sign of the gradient, but for its eps of 1e-8.
    clipped = jax.tree.map(lambda g: g * 0.1 / norm, grads)
    expected = jax.tree.map(lambda p, g: p - 0.01 * g / (jnp.abs(g) + 1e-8), state.params, clipped)
    after = agent.update(jax.random.key(1), state, batch)
    # Where a gradient is as small as eps its rounding counts.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), after.params, expected)
    np.testing.assert_allclose(after.pulls, [1.5, 3, 0, 1])
    assert after.updates == 1


@pytest.mark.parametrize("network", NETWORKS[1:])
@pytest.mark.parametrize("num_items", [7, 200])
def test_items_of_a_catalogue_are_scored_as_arms_of_their_own(network, num_items):
    module = neural.make_network(spec_of(network), network, *LAYERS.values())
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


def test_a_schedule_of_the_update_count_sets_epsilon():
    epsilon = optax.linear_schedule(1.0, 0.0, 10)
    agent = neural.neural_epsilon_greedy(spec_of("fixed"), **LAYERS, epsilon=epsilon, ties="first")
    state = agent.init(jax.random.key(0))
    context = users(2_000, DIM)
    best = jnp.argmax(neural.make_network(spec_of("fixed"), "", *LAYERS.values()).apply(state.params, context), axis=1)
    share = [
        float(jnp.mean(agent.select(jax.random.key(1), state._replace(updates=jnp.int32(n)), context).action == best))
        for n in (0, 10)
    ]
    assert share[0] == pytest.approx(1 / ARMS, abs=0.05)
    assert share[1] == 1.0
