"""The interface holds what later agents and environments need: memory, slates, drift, worlds that react."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit import exploration, sweep
from jaxbandit.envs.outcome import expected, outcome
from jaxbandit.types import Agent, Context, Decision, Environment, Outcome, Spec

ROOT, ARMS, BATCH = jax.random.key(0), 4, 6
MEANS = jnp.array([0.1, 0.4, 0.2, 0.9])


def world(respond=None, *, init=lambda key, params: (), drift=lambda state: 0.0, reacts: bool = False) -> Environment:
    def observe(key, params, state, batch_size):
        context = Context(user=jnp.ones((batch_size, 1)), user_id=jnp.arange(batch_size, dtype=jnp.int32))
        return context, jnp.broadcast_to(params + drift(state), (batch_size, ARMS))

    def pay(key, params, state, context, means, action):
        return state, outcome(context, means, action)

    return Environment(Spec(ARMS, 1, 0), init, observe, respond or pay, reacts=reacts)


def run(environment: Environment, factory, rounds: int = 20, configurations: int = 2):
    grid = {"rate": jnp.linspace(0.1, 0.2, configurations, dtype=jnp.float32)}
    lanes = sweep.compile_lanes(ROOT, environment, MEANS, factory, grid, batch_size=BATCH, num_seeds=2, num_rows=1)
    return jax.tree.map(np.asarray, lanes.advance(lanes.begin(), np.array([0, rounds])))


def uniform(rate) -> Agent:
    def select(key, state, context):
        return Decision(exploration.uniform(key, context, ARMS))

    return Agent(lambda key: jnp.zeros(()), select, lambda key, state, seen: state)


def test_an_agent_gets_back_what_it_remembered_of_each_decision():
    """Importance-weighted values: the propensity of each action comes back with its reward, as EXP3 needs."""

    def factory(rate):
        def select(key, state, context):
            logits = jnp.broadcast_to(10 * rate * jnp.tanh(state), (len(context.user), ARMS))
            action = exploration.boltzmann(key, context, logits, 1.0)
            return Decision(action, memory=expected(jax.nn.softmax(logits), action))

        def update(key, state, seen):
            return state.at[seen.action].add(seen.weight * seen.reward / seen.memory / BATCH)

        return Agent(lambda key: jnp.zeros(ARMS), select, update)

    carry, _ = run(world(), factory, rounds=400)
    # 9,600 unbiased estimates of each arm's mean, propensities above 3%: the standard error is below .06.
    np.testing.assert_allclose(carry.agent.mean(axis=(0, 1)) / 400, MEANS, atol=0.1)


def test_an_action_may_be_a_slate():
    """A cascade: the user looks down a slate of two and is content when one of them pleases."""

    def respond(key, params, state, context, means, action):
        please = jnp.take_along_axis(means, action, axis=1)
        best = jax.lax.top_k(means, 2)[0]
        content, most = (1 - jnp.prod(1 - p, axis=1) for p in (please, best))
        return state, Outcome(please, content, most, content)

    def factory(rate):
        def select(key, state, context):
            return Decision(jnp.broadcast_to(jnp.array([3, 1], jnp.int32), (len(context.user), 2)))

        return Agent(
            lambda key: jnp.zeros(ARMS), select, lambda key, state, seen: state.at[seen.action].add(seen.reward)
        )

    carry, metrics = run(world(respond), factory)
    np.testing.assert_allclose(carry.agent, np.broadcast_to([0, 0.4 * 120, 0, 0.9 * 120], carry.agent.shape), rtol=1e-5)
    np.testing.assert_allclose(metrics.regret, 0, atol=1e-5)


def test_a_drifting_world_is_shared_by_all_configurations_of_a_seed():
    def respond(key, params, state, context, means, action):
        return state + jax.random.normal(key), outcome(context, means, action)

    drifting = world(respond, init=lambda key, params: jnp.zeros(()), drift=lambda state: state)
    carry, metrics = run(drifting, uniform)
    assert carry.environment.shape == (2,)  # one for each seed
    assert carry.environment[0] != carry.environment[1]
    assert np.all(metrics.optimal[:, 0] == metrics.optimal[:, 1])


def test_a_world_that_reacts_to_actions_has_a_state_for_each_configuration():
    def respond(key, params, state, context, means, action):
        return state + jnp.sum(action == 3), outcome(context, means, action)

    def factory(rate):
        def select(key, state, context):
            return Decision(jnp.full(len(context.user), jnp.where(rate > 0.15, 3, 0), jnp.int32))

        return Agent(lambda key: jnp.zeros(()), select, lambda key, state, seen: state)

    reacting = world(respond, init=lambda key, params: jnp.zeros((), jnp.int32), reacts=True)
    carry, _ = run(reacting, factory)
    np.testing.assert_array_equal(carry.environment, [[0, 120], [0, 120]])
