"""Small agents and worlds that use what the interface promises: memory, slates, drift, reactions, conditional work."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.simulation import lanes as sweep
from jaxbandit.simulation.rounds import Carry
from jaxbandit.types import Agent, Context, Decision, Environment, Outcome, Spec

BATCH, ARMS, SEEDS = 4, 3, 2
SPEC = Spec(ARMS, 2, 0)
GRID = {"bias": jnp.array([0.0, 5.0])}


def observe(key, params, state, batch_size):
    user = jax.random.normal(key, (batch_size, 2))
    means = jnp.broadcast_to(params[None], (batch_size, ARMS))
    return Context(user=user, user_id=jnp.arange(batch_size)), means


def respond(key, params, state, context, means, action):
    taken = jnp.take_along_axis(means, action[:, None], axis=1)[:, 0]
    return state, Outcome(taken, taken, means.max(axis=1), means.mean(axis=1))


MEANS = jnp.array([1.0, 2.0, 4.0])
STILL = Environment(SPEC, lambda key, params: (), observe, respond)


def always(arm: int, **functions) -> Agent:
    agent = Agent(
        init=lambda key: jnp.zeros(()),
        select=lambda key, state, context: Decision(jnp.full(context.user.shape[0], arm, jnp.int32)),
        update=lambda key, state, interaction: state,
    )
    return replace(agent, **functions)


def run(environment: Environment, factory, rounds: int = 10) -> tuple[Carry, dict]:
    simulation = sweep.Simulation(environment, MEANS, factory, GRID, BATCH)
    lanes = sweep.compile_lanes(jax.random.key(0), simulation, num_seeds=SEEDS, num_points=1)
    carry, metrics = lanes.advance(lanes.begin(), np.array([0, rounds]))
    return jax.tree.map(np.asarray, carry), jax.tree.map(np.asarray, metrics._asdict())


def test_an_agent_gets_its_own_memory_back():
    def factory(bias):
        def select(key, state, context):
            probability = jax.random.uniform(key, context.user.shape[:1])
            action = jnp.argmax(context.user + bias, axis=1).astype(jnp.int32)
            return Decision(action, {"probability": probability, "action": action})

        def update(key, state, seen):
            same = jnp.array_equal(seen.memory["action"], seen.action) & (seen.memory["probability"].shape == (BATCH,))
            return state + jnp.where(same, jnp.sum(seen.memory["probability"]), 0.0)

        return always(0, select=select, update=update)

    carry, _ = run(STILL, factory)
    assert np.all(carry.agent > 0.2 * 10 * BATCH)  # ten rounds of uniform draws
    assert len(np.unique(carry.agent)) == SEEDS


def test_an_environment_takes_slates_of_several_arms():
    def pay(key, params, state, context, means, action):
        taken = jnp.take_along_axis(means, action, axis=1)
        best = jnp.sort(means, axis=1)[:, -2:].sum(axis=1)
        return state, Outcome(taken, taken.sum(axis=1), best, 2 * means.mean(axis=1))

    def factory(bias):
        def select(key, state, context):
            return Decision(jnp.tile(jnp.array([[2, 0]], jnp.int32), (BATCH, 1)))

        return always(0, select=select, update=lambda key, state, seen: state + jnp.sum(seen.reward))

    carry, metrics = run(replace(STILL, respond=pay), factory)
    np.testing.assert_allclose(carry.agent, 10 * BATCH * (4 + 1))
    np.testing.assert_allclose(metrics["average_return"], 10 * 5)
    np.testing.assert_allclose(metrics["regret"], 10 * (6 - 5))


def test_a_drifting_world_moves_by_itself_and_is_shared_by_configurations():
    def drift(key, params, state, context, means, action):
        return state + jax.random.normal(key), respond(key, params, state, context, means, action)[1]

    def see(key, params, state, batch_size):
        context, means = observe(key, params, state, batch_size)
        return context, means + state

    world = replace(STILL, init=lambda key, params: jnp.zeros(()), observe=see, respond=drift)
    carry, metrics = run(world, lambda bias: always(2))
    assert carry.environment.shape == (SEEDS,)  # no axis of configurations: computed once
    assert len(np.unique(carry.environment)) == SEEDS
    assert np.all(carry.environment != 0)
    np.testing.assert_array_equal(metrics["optimal"][:, 0], metrics["optimal"][:, 1])
    assert np.ptp(metrics["optimal"][:, 0]) > 0


def test_a_world_that_reacts_has_a_state_for_each_configuration():
    def wear(key, params, state, context, means, action):
        return state + jnp.sum(jax.nn.one_hot(action, ARMS), axis=0), respond(
            key, params, state, context, means, action
        )[1]

    def see(key, params, state, batch_size):
        context, means = observe(key, params, state, batch_size)
        return context, means / (1 + state[None])

    world = replace(STILL, init=lambda key, params: jnp.zeros(ARMS), observe=see, respond=wear, reacts=True)

    def factory(bias):
        arm = (bias > 0).astype(jnp.int32)
        return always(0, select=lambda key, state, context: Decision(jnp.broadcast_to(arm, (BATCH,))))

    carry, metrics = run(world, factory)
    assert carry.environment.shape == (SEEDS, 2, ARMS)
    np.testing.assert_array_equal(carry.environment[0], [[10 * BATCH, 0, 0], [0, 10 * BATCH, 0]])
    assert np.all(metrics["average_return"][:, 1] > metrics["average_return"][:, 0])


def retrainer(bias):
    """An agent that works hard in every tenth round alone."""

    def update(key, state, seen):
        return jax.lax.cond(seen.round % 10 == 9, lambda s: s + 1 + jnp.sin(bias) ** 2 * 0, lambda s: s, state)

    return always(0, update=update)


def test_work_of_every_tenth_round_is_done_in_every_tenth_round():
    carry, _ = run(STILL, retrainer, rounds=40)
    np.testing.assert_array_equal(carry.agent, np.full((SEEDS, 2), 4.0))


@cache
def primitives() -> list[str]:
    """Names of all operations in the program of the lanes."""
    root, simulation = jax.random.key(0), sweep.Simulation(STILL, MEANS, retrainer, GRID, BATCH)
    begin, advance = sweep._row_functions(simulation, 2, str(jax.random.key_impl(root)))
    rows = {name: jnp.stack([values] * SEEDS) for name, values in GRID.items()}
    arguments = jax.random.key_data(root), jnp.arange(SEEDS, dtype=jnp.uint32), MEANS, rows
    carry = jax.eval_shape(begin, *arguments)
    jaxpr = jax.make_jaxpr(advance)(carry, *arguments, np.array([0, 5], np.int32))

    def names(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from names(inner)

    return list(names(jaxpr.jaxpr))


def test_a_condition_on_the_round_skips_work_in_all_lanes():
    # Under vmap a condition that differs between lanes becomes a select, which runs both branches.
    assert "while" in primitives() or "scan" in primitives()
    assert "cond" in primitives()
