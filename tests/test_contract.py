"""What every agent must do in every kind of world, and every world with the first agent that takes it.

No line here knows a name: new ones are tested by being registered.
"""

from contextlib import suppress
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.world import check_slates
from jaxbandit.simulation import lanes as sweep
from jaxbandit.simulation import rounds
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.delay import delayed
from jaxbandit.types import Interaction

from .support import bounded, make_agent, masked, one_lane, small_world

BATCH, SEEDS = 4, 8
EDGES = np.array([0, 100, 200], np.int32)
ROOT = jax.random.key(7)
LEARNERS = [agent for agent, factory in AGENTS.items() if hyperparameters(factory)]


@cache
def traced_values(agent: str) -> dict[str, jax.Array]:
    """Two values of each hyperparameter that a sweep may trace: the default, and half of it."""
    settings = hyperparameters(AGENTS[agent]).values()
    return {s.name: jnp.array([s.default, s.default / 2], jnp.float32) for s in settings if s.is_traced}


@cache
def world(agent: str, env: str):
    """A small world for an agent, its rewards in [0, 1] if it needs them there; None where it refuses both."""
    environment, params = small_world(env)
    values = {name: column[0] for name, column in traced_values(agent).items()}
    for candidate in (environment, bounded(environment)):
        with suppress(InputError):
            check_slates(Config(agent=agent, env=env), candidate, make_agent(agent, candidate)(**values))
            return candidate, params
    return None


def worlds_of_each_kind() -> list[str]:
    """A world with fixed arms, one whose arms have features, and one that wants slates."""
    specs = {env: small_world(env)[0].spec for env in ENVIRONMENTS}
    return list({(spec.arm_dim > 0, spec.slate_size > 1): env for env, spec in specs.items()}.values())


def pairs() -> list[tuple[str, str]]:
    """Every agent in a world of each kind that it takes, and every world with an agent that learns."""
    found = [(agent, env) for env in worlds_of_each_kind() for agent in AGENTS]
    found += [(next(agent for agent in LEARNERS if world(agent, env)), env) for env in ENVIRONMENTS]
    return [pair for pair in dict.fromkeys(found) if world(*pair)]


@cache
def swept(agent: str, env: str):
    """Both configurations and all seeds under random masks, on all devices: end, metrics [S, H, W], traces."""
    environment, params = world(agent, env)
    environment = masked(environment)
    made = []

    def factory(**values):
        made.append(values)
        return make_agent(agent, environment)(**values)

    simulation = sweep.Simulation(environment, params, factory, traced_values(agent), BATCH)
    lanes = sweep.compile_lanes(ROOT, simulation, num_seeds=SEEDS, num_points=2)
    runs = [jax.tree.map(np.asarray, lanes.advance(lanes.begin(), EDGES)) for _ in range(2)]
    return lanes, runs, len(made)


# The scope keeps the tests of a pair together, and so mostly in one process, which compiles its program once.
each_pair = pytest.mark.parametrize(("agent", "env"), pairs(), scope="module")


@each_pair
def test_actions_are_in_range_and_allowed(agent, env):
    _, [(carry, _), _], _ = swept(agent, env)
    assert carry.environment.forbidden.shape[0] == SEEDS
    assert not carry.environment.forbidden.any()


@each_pair
def test_update_keeps_tree_shapes_and_dtypes(agent, env):
    environment, params = world(agent, env)
    policy = make_agent(agent, environment)(**{name: values[0] for name, values in traced_values(agent).items()})
    lane = rounds.Lane(environment, params, policy, BATCH)
    carry = jax.eval_shape(lambda key: rounds.start(key, lane), ROOT)
    step = partial(rounds.one_round, ROOT, lane)
    after = jax.eval_shape(step, carry, jax.ShapeDtypeStruct((), jnp.int32))[0]
    assert jax.tree.structure(after) == jax.tree.structure(carry)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(carry)]


@each_pair
def test_everything_is_finite_after_hundreds_of_rounds(agent, env):
    _, [run, _], _ = swept(agent, env)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(run) if leaf.dtype == np.float32)


@each_pair
def test_the_same_key_gives_the_same_run(agent, env):
    _, runs, _ = swept(agent, env)
    jax.tree.map(np.testing.assert_array_equal, *runs)


@each_pair
def test_no_policy_beats_the_optimum_and_the_metrics_add_up(agent, env):
    _, [(_, metrics), _], _ = swept(agent, env)
    assert np.all(metrics.regret >= 0)
    assert np.all((metrics.suboptimal_arms >= 0) & (metrics.suboptimal_arms <= np.diff(EDGES)))
    assert np.all(metrics.optimal >= metrics.uniform)


@each_pair
def test_a_sweep_traces_once_however_often_it_runs(agent, env):
    lanes, _, traces = swept(agent, env)
    # Once to begin, once to advance; both traces serve all values, seeds, devices and calls.
    assert traces == 2
    lanes.advance(lanes.begin(), EDGES)
    assert swept(agent, env)[2] == traces


@each_pair
def test_lanes_of_a_sweep_on_8_devices_equal_simulations_alone_on_one(agent, env):
    _, [(_, metrics), _], _ = swept(agent, env)
    environment, params = world(agent, env)
    run = one_lane(masked(environment), params, make_agent(agent, environment), BATCH)
    for h, seed in ((0, 0), (-1, 0), (-1, SEEDS - 1)):
        values = {name: column[h] for name, column in traced_values(agent).items()}
        _, alone = run(jax.random.fold_in(ROOT, seed), values, EDGES)
        # Equal draws; sums in another order, where a flipped near-tie may spread.
        for name, field in alone._asdict().items():
            expected = getattr(metrics, name)[seed, h]
            np.testing.assert_allclose(field, expected, rtol=1e-3, atol=1e-3, err_msg=name)


@each_pair
def test_a_compiled_round_equals_an_eager_one(agent, env):
    environment, params = world(agent, env)
    policy = make_agent(agent, environment)(**{name: values[0] for name, values in traced_values(agent).items()})
    lane = rounds.Lane(environment, params, policy, BATCH)
    carry = jax.jit(lambda: rounds.start(ROOT, lane))()
    step = partial(rounds.one_round, ROOT, lane)
    eager, compiled = step(carry, jnp.int32(0)), jax.jit(step)(carry, jnp.int32(0))
    # float32 in another order; users of the linear worlds have features up to 10.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), eager, compiled)


@each_pair
def test_rewards_of_weight_zero_are_ignored(agent, env):
    environment, params = world(agent, env)
    policy = make_agent(agent, environment)(**{name: values[0] for name, values in traced_values(agent).items()})

    @jax.jit
    def learned(reward):
        carry = rounds.start(ROOT, rounds.Lane(environment, params, policy, BATCH))
        context, means = environment.observe(ROOT, params, carry.environment, BATCH)
        context = context._replace(truth=means) if policy.privileged else context
        decision = policy.select(ROOT, carry.agent, context)
        weight = jnp.array([1.0, 0.0, 1.0, 0.0])
        reward = jnp.broadcast_to(reward, decision.action.shape[::-1]).T  # the same at all positions of a slate
        seen = Interaction(context, decision.action, reward, weight, jnp.int32(0), decision.memory)
        return policy.update(ROOT, carry.agent, seen)

    one, other = learned(jnp.array([1.0, 2.0, 3.0, 4.0])), learned(jnp.array([1.0, 99.0, 3.0, -99.0]))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@each_pair
def test_a_run_cut_in_two_by_a_checkpoint_ends_as_one_that_was_not(agent, env, tmp_path):
    lanes, [(whole, metrics), _], _ = swept(agent, env)
    carry, _ = lanes.advance(lanes.begin(), np.array([0, 100, 100], np.int32))
    checkpoints = Checkpoints(epath.Path(tmp_path))
    checkpoints.save(100, jax.tree.map(np.asarray, carry))
    carry = checkpoints.restore(100, carry)
    carry, second = lanes.advance(carry, np.array([100, 200, 200], np.int32))
    jax.tree.map(np.testing.assert_array_equal, carry, whole)
    jax.tree.map(np.testing.assert_array_equal, [x[..., 0] for x in second], [x[..., 1] for x in metrics])


@pytest.mark.parametrize("agent", LEARNERS)
def test_every_agent_learns_from_feedback_that_comes_late(agent):
    env = next(env for env in ("mf-per-arm", "mf", "cascade") if world(agent, env))
    environment, params = world(agent, env)
    environment = masked(environment)
    factory = delayed(make_agent(agent, environment), environment, params, 32, delay=3)
    run = one_lane(environment, params, factory, 32)
    values = {name: column[0] for name, column in traced_values(agent).items()}
    carry, metrics = run(ROOT, values, np.array([0, 200, 300], np.int32))
    assert carry.environment.forbidden == 0
    assert metrics.regret[-1] < 0.85 * (metrics.optimal[-1] - metrics.uniform[-1])


def variants(agent: str) -> list[dict]:
    """One setting at a time at a choice that is not its default."""
    settings = hyperparameters(AGENTS[agent]).values()
    switches = [{s.name: not s.default} for s in settings if s.kind == "bool"]
    return switches + [{s.name: c} for s in settings if s.kind == "choice" for c in s.choices if c != s.default]


VARIANTS = [(agent, variant) for agent in AGENTS for variant in variants(agent)]


@pytest.mark.parametrize(("agent", "variant"), VARIANTS, ids=lambda x: x if isinstance(x, str) else str(x))
def test_every_choice_of_every_agent_runs_where_arms_have_features_and_where_not(agent, variant):
    values = {name: column[0] for name, column in traced_values(agent).items()}
    for environment, params in filter(None, (world(agent, env) for env in worlds_of_each_kind())):
        environment = masked(environment)
        run = one_lane(environment, params, make_agent(agent, environment, **variant), BATCH)
        jax.eval_shape(run, ROOT, values, EDGES[:2])
    carry, metrics = run(ROOT, values, EDGES[:2])
    assert carry.environment.forbidden == 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(metrics))
