"""What a run has taught its agent, read from the last checkpoint, and the policy that acts on it. It learns no more."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, PyTree

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.experiments import interaction_log, run_directory
from jaxbandit.experiments.config import Config, read_config
from jaxbandit.experiments.recorder import recording_simulation
from jaxbandit.experiments.world import build, static_settings, traced_settings, world_difference
from jaxbandit.simulation import chunks, lane_order, lanes, recording
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.metrics import RoundMetrics
from jaxbandit.types import Context, Spec

Policy = Callable[[Context], Float[Array, "B K"]]  # -> probability of every arm


class Learned(NamedTuple):
    """The state of an agent at the end of a run, and the world it was learned in."""

    state: PyTree  # of the agent
    root: int  # `seed` of the run
    hidden: bool  # each seed draws a world of its own, which its agent has learned


def make_policy(config: Config, spec: Spec, state: PyTree = None, samples: int = interaction_log.SAMPLES) -> Policy:
    """Let the agent of a checked config act with a state, by default that before the first round.

    Probabilities that the agent does not compute are estimated by the shares of `samples` draws.

    Raises:
        InputError: an agent that sees mean rewards, or does not go with the spec.
    """
    names = traced_settings(config.agent)
    settings = {name: jnp.float32(v) if name in names else v for name, v in config.agent_settings.items()}
    agent = AGENTS[config.agent](spec, **settings)
    if agent.privileged:
        raise InputError(f"agent is {config.agent!r}, which sees mean rewards, but a log has none; allowed: all others")
    init_key, key = jax.random.split(jax.random.key(config.seed))
    state = agent.init(init_key) if state is None else state

    @jax.jit
    def act(key: Array, state: PyTree, context: Context) -> Float[Array, "B K"]:
        return recording.probabilities(key, agent, state, context, spec.num_actions, samples)

    return partial(act, key, state)


def last_state(run: str, config: Config, seed: int, checkpoints: str | None = None) -> Learned:
    """Read the agent's state of one seed from the last checkpoint of a run.

    `checkpoints` is the directory of the run's checkpoints where they are not in its own.

    Raises:
        InputError: there is none, no such seed, a run of another agent, world or static setting.
    """
    directory = epath.Path(run)
    trained = read_config(str(directory / "config.json"), kept=True)
    if (difference := world_difference(trained.world, config.world)) or trained.agent != config.agent:
        difference = difference or f"agent {trained.agent} and {config.agent}"
        raise InputError(f"policy_from is {run!r}, of another agent or world ({difference}); allowed: one of the same")
    for name, value in static_settings(trained).items():
        if config.agent_settings[name] != value:
            raise InputError(
                f"policy_from is {run!r}, whose {name} is {value}, not {config.agent_settings[name]}; "
                f"allowed: that of the run; {', '.join(traced_settings(config.agent)) or 'no other setting'} may differ"
            )
    if not 0 <= seed < trained.seeds:
        raise InputError(f"policy_seed is {seed}; allowed: 0 to {trained.seeds - 1}, the seeds of {run!r}")
    if not 0 < last_round(run, checkpoints) <= trained.rounds:
        raise InputError(f"policy_from is {run!r}, which has no checkpoint of all seeds; allowed: a run with one")
    simulation = build(trained)
    state = trained_state(run, trained, simulation, seed, checkpoints)
    hidden = jax.eval_shape(simulation.environment.init, jax.random.key(0), simulation.params)
    return Learned(state, trained.seed, bool(jax.tree.leaves(hidden)))


def last_round(run: str, checkpoints: str | None = None) -> int:
    """Rounds done at the last checkpoint. Where there are several tiles, the rounds of all of them add up."""
    return max(_checkpoints(run, checkpoints).rounds(), default=0)


def trained_state(
    run: str, trained: Config, simulation: lanes.Simulation, seed: int, checkpoints: str | None = None
) -> PyTree:
    """Read the agent's state of one seed from the last checkpoint of a run, `simulation` as `build` makes it.

    Raises:
        InputError: the checkpoint is damaged, or of another program, or the agent has diverged.
    """
    directory = epath.Path(run)
    samples = interaction_log.choose_samples(directory, resume=True, begun=True, log=False, samples=None)
    simulation, rounds = recording_simulation(trained, simulation, samples) if samples else (simulation, None)
    (tile,) = lanes.layout(1, trained.seeds)
    shapes, reacts = lanes.carry_shapes(simulation, tile.config.shape), simulation.environment.reacts
    like = lane_order.from_tile(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), tile, reacts)
    points = len(chunks.edges_of(trained.rounds, rounds)) - 1
    sums = np.zeros((len(RoundMetrics._fields), points, 1, trained.seeds))
    saved, _ = _checkpoints(run, checkpoints).restore(last_round(run, checkpoints), (like, sums))
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[seed]), saved.carry.agent)
    state = state.agent if samples else state
    state = state.agent if trained.delay else state
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(jnp.all(jnp.isfinite(leaf))):
            raise InputError(
                f"run is {run!r}, whose {trained.agent} of seed {seed} has diverged: what it has learned is nan or "
                "infinite; allowed: a run, or a seed, that is finite at its end"
            )
    return state


def _checkpoints(run: str, checkpoints: str | None) -> Checkpoints:
    """The checkpoints that are named, or those of the run, or those beside its directory `model`, as on Vertex AI."""
    own = epath.Path(run) / run_directory.CHECKPOINTS
    beside = own.parent.parent / run_directory.CHECKPOINTS
    apart = own.parent.name == "model" and beside.exists() and not own.exists()
    return Checkpoints(checkpoints or (beside if apart else own))
