"""What every agent must do in every kind of world, and every world with the first agent that learns there.

A sweep shows it at home, single lanes elsewhere: a program takes seconds to compile, and each is compiled once.

No line here knows an agent: new ones are tested by being registered.
"""

from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.simulation import lanes as sweep
from jaxbandit.simulation import rounds
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.delay import delayed
from jaxbandit.types import Environment, Interaction

from .support import defaults, home, make_agent, masked, one_lane, small_world, traced_values, world

BATCH, SEEDS, DEVICES = 4, 4, 2
EDGES = np.array([0, 100, 200], np.int32)
ROOT = jax.random.key(7)
LEARNERS = [agent for agent, factory in AGENTS.items() if hyperparameters(factory)]
# Every environment of the registry, and the one that offers its whole catalogue to everybody.
WORLDS: dict[str, dict[str, str]] = {**{env: {} for env in ENVIRONMENTS}, "mf-per-arm, all arms": {"arms": "all"}}


def world_of(agent: str, name: str) -> tuple[Environment, Any] | None:
    """One of the worlds above, as far as the agent takes it."""
    return world(agent, name.partition(",")[0], **WORLDS[name])


def kind(name: str) -> tuple[bool, ...]:
    """What agents must tell apart: how arms come, and whether a slate of several is wanted."""
    environment, params = small_world(name.partition(",")[0], **WORLDS[name])
    context, _ = jax.eval_shape(lambda: environment.observe(ROOT, params, environment.init(ROOT, params), BATCH))
    ways = (context.arms, context.arm_id, context.catalogue)
    return *(way is not None for way in ways), environment.spec.slate_size > 1


def choices(agent: str) -> list[dict[str, Any]]:
    """Every choice that is not a default: first the second choice of each setting, then the third of each."""
    settings = [s for s in hyperparameters(AGENTS[agent]).values() if s.kind in ("bool", "choice")]
    others = [[not s.default] if s.kind == "bool" else [c for c in s.choices if c != s.default] for s in settings]
    names = [[(s.name, c) for c in of_one] for s, of_one in zip(settings, others, strict=True)]
    return [dict(pair for pair in group if pair) for group in zip_longest(*names)]


KINDS = list({kind(name): name for name in reversed(WORLDS)}.values())[::-1]  # the first world of each kind
HOMES = [(agent, home(agent)) for agent in AGENTS]
FAMILIES = {AGENTS[agent].__module__: (agent, env) for agent, env in reversed(HOMES)}  # the first of each module


def visits() -> list[Any]:
    """Every agent away from home in a world of each kind, and the first one that learns in every world.

    Worlds at their defaults see all choices of an agent that has some; an agent without another world has them at home.
    """
    all_visits = [(next(agent for agent in LEARNERS if world_of(agent, name)), name, {}) for name in WORLDS]
    for agent, own in HOMES:
        abroad = [name for name in KINDS if name != own and world_of(agent, name)]
        for name in abroad or [own]:
            all_visits += [(agent, name, c) for c in ([] if WORLDS[name] else choices(agent)) or [{}]]
    different = [visit for i, visit in enumerate(all_visits) if visit not in all_visits[:i]]
    return [pytest.param(*visit, marks=pytest.mark.slow if visit[-1] else ()) for visit in different]


class Swept(NamedTuple):
    """A sweep over two configurations and all seeds, under random masks, on two devices."""

    environment: Environment
    params: Any
    lanes: sweep.Lanes
    begun: rounds.Carry
    runs: list[tuple[rounds.Carry, Any]]  # the same, twice: the end, and metrics [S, H, W]
    traces: int  # how often its agent was made


def swept(agent: str, name: str) -> Swept:
    environment, params = world_of(agent, name)
    environment, made = masked(environment), []

    def factory(**values):
        made.append(values)
        return make_agent(agent, environment)(**values)

    simulation = sweep.Simulation(environment, params, factory, traced_values(agent), BATCH)
    sizes = {"num_seeds": SEEDS, "num_points": len(EDGES) - 1}
    lanes = sweep.compile_lanes(ROOT, simulation, **sizes, devices=jax.devices()[:DEVICES])
    begun = jax.tree.map(np.asarray, lanes.begin())
    runs = [jax.tree.map(np.asarray, lanes.advance(lanes.begin(), EDGES)) for _ in range(2)]
    return Swept(environment, params, lanes, begun, runs, len(made))


@pytest.mark.parametrize(("agent", "name"), HOMES)
def test_a_sweep_of_every_agent_keeps_the_contract(agent, name, tmp_path):
    run = swept(agent, name)
    (end, metrics), again = run.runs
    # Once to begin, once to advance; both traces serve all values, seeds, devices and calls.
    assert run.traces == 2
    assert_actions_are_in_range_and_allowed(end)
    assert_no_state_changes_its_tree_shapes_or_dtypes(run.begun, end)
    assert_everything_is_finite((end, metrics))
    jax.tree.map(np.testing.assert_array_equal, (end, metrics), again)  # the same key gives the same run
    assert_no_policy_beats_the_optimum_and_the_metrics_add_up(metrics)
    assert_lanes_equal_simulations_alone_on_one_device(agent, run)
    if (agent, name) in HOMES[::9]:
        assert_a_run_cut_in_two_by_a_checkpoint_ends_as_one_that_was_not(run, tmp_path)


@pytest.mark.parametrize(("agent", "name", "settings"), visits(), ids=lambda x: x if isinstance(x, str) else str(x))
def test_a_lane_of_every_choice_of_every_agent_keeps_the_contract_in_every_kind_of_world(agent, name, settings):
    environment, params = world_of(agent, name)
    environment = masked(environment)
    run = one_lane(environment, params, make_agent(agent, environment, **settings), BATCH)
    (end, metrics), again = (jax.tree.map(np.asarray, run(ROOT, defaults(agent), EDGES)) for _ in range(2))
    assert_actions_are_in_range_and_allowed(end)
    assert_everything_is_finite((end, metrics))
    jax.tree.map(np.testing.assert_array_equal, (end, metrics), again)
    assert_no_policy_beats_the_optimum_and_the_metrics_add_up(metrics)


def assert_everything_is_finite(tree):
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if leaf.dtype == np.float32)


def assert_actions_are_in_range_and_allowed(end):
    assert end.environment.forbidden.shape[:1] in ((SEEDS,), ())  # of all seeds, or of one lane
    assert not end.environment.forbidden.any()


def assert_no_state_changes_its_tree_shapes_or_dtypes(begun, end):
    assert jax.tree.structure(end) == jax.tree.structure(begun)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(end)] == [(x.shape, x.dtype) for x in jax.tree.leaves(begun)]


def assert_no_policy_beats_the_optimum_and_the_metrics_add_up(metrics):
    assert np.all(metrics.regret >= 0)
    assert np.all((metrics.suboptimal_arms >= 0) & (metrics.suboptimal_arms <= np.diff(EDGES)))
    assert np.all(metrics.optimal >= metrics.uniform)


def assert_lanes_equal_simulations_alone_on_one_device(agent, run):
    (_, metrics), _ = run.runs
    alone = one_lane(run.environment, run.params, make_agent(agent, run.environment), BATCH)
    for h, seed in ((0, 0), (-1, 0), (-1, SEEDS - 1)):
        values = {name: column[h] for name, column in traced_values(agent).items()}
        _, expected = alone(jax.random.fold_in(ROOT, seed), values, EDGES)
        # Equal draws; sums in another order, where a flipped near-tie may spread.
        for name, field in expected._asdict().items():
            np.testing.assert_allclose(getattr(metrics, name)[seed, h], field, rtol=1e-3, atol=1e-3, err_msg=name)


def assert_a_run_cut_in_two_by_a_checkpoint_ends_as_one_that_was_not(run, directory):
    (end, metrics), _ = run.runs
    carry, first = run.lanes.advance(run.lanes.begin(), np.array([0, 100, 100], np.int32))
    checkpoints = Checkpoints(epath.Path(directory))
    checkpoints.save(100, jax.tree.map(np.asarray, carry))
    carry, second = run.lanes.advance(checkpoints.restore(100, carry), np.array([100, 200, 200], np.int32))
    jax.tree.map(np.testing.assert_array_equal, carry, end)
    halves = [np.stack([a[..., 0], b[..., 0]], axis=-1) for a, b in zip(first, second, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, halves, list(metrics))


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "env"), FAMILIES.values())
def test_a_compiled_round_of_a_family_of_agents_equals_an_eager_one(agent, env):
    environment, params = world(agent, env)
    policy = make_agent(agent, environment)(**defaults(agent))
    lane = rounds.Lane(environment, params, policy, BATCH)
    carry = jax.jit(lambda: rounds.start(ROOT, lane))()
    step = partial(rounds.one_round, ROOT, lane)
    eager, compiled = step(carry, jnp.int32(0)), jax.jit(step)(carry, jnp.int32(0))
    # float32 in another order; users of the linear worlds have features up to 10.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), eager, compiled)


@pytest.mark.parametrize(("agent", "env"), HOMES)
def test_rewards_of_weight_zero_are_ignored(agent, env):
    environment, params = world(agent, env)
    policy = make_agent(agent, environment)(**defaults(agent))

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


@pytest.mark.slow
@pytest.mark.parametrize("agent", LEARNERS)
def test_every_agent_learns_from_feedback_that_comes_late(agent):
    environment, params = world(agent, home(agent))
    environment = masked(environment)
    factory = delayed(make_agent(agent, environment), environment, params, 32, delay=3)
    run = one_lane(environment, params, factory, 32)
    carry, metrics = run(ROOT, defaults(agent), np.array([0, 200, 300], np.int32))
    assert carry.environment.forbidden == 0
    assert metrics.regret[-1] < 0.85 * (metrics.optimal[-1] - metrics.uniform[-1])
