"""Sweeps whose programs are compiled: a name, what is simulated, how many lanes, on how many chips of which targets."""

from contextlib import suppress
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build
from jaxbandit.simulation.lanes import Simulation

PER_CHIP = ("v5e:2x2", "v6e:2x2", "h100")
AGENT_TARGETS = ("v5e:2x2", "h100")
USERS, ITEMS = 200_948, 87_585  # of MovieLens 32M
PER_ARM = {"mf-per-arm": {"factorizer": "svd"}}
WORLDS = PER_ARM | {"mf": {}, "cascade": {}}


class Case(NamedTuple):
    agent: str = "linucb"
    agent_settings: dict[str, Any] = {}  # noqa: RUF012
    configurations: int = 64
    seeds: int = 16
    batch_size: int = 128
    chips: int = 1
    targets: tuple[str, ...] = PER_CHIP
    worlds: dict[str, dict[str, Any]] = PER_ARM  # with their settings; the first that the agent takes
    large: bool = False  # USERS and ITEMS instead of those of the ratings


CASES = {
    "linucb concat 64x16": Case(),
    "linucb concat 128x8": Case(configurations=128, seeds=8),
    "linucb concat 1x1": Case(configurations=1, seeds=1),
    "linucb concat 1x4": Case(configurations=1, seeds=4, chips=4, targets=("v5e:2x2",)),
    "linucb concat 1x1 batch 4096": Case(configurations=1, seeds=1, batch_size=4096),
    "linucb outer 8x8": Case(agent_settings={"features": "outer"}, configurations=8, seeds=8),
    "neural-epsilon-greedy 64x16": Case(agent="neural-epsilon-greedy"),
    "linucb concat 64x16 large": Case(large=True),
    "linucb concat 64x16 4 chips": Case(chips=4, targets=("v5e:2x2", "v6e:2x2")),
    "linucb concat 64x16 16 chips": Case(chips=16, targets=("v5e:4x4",)),
} | {
    f"agent {agent}": Case(agent=agent, configurations=16, seeds=8, targets=AGENT_TARGETS, worlds=WORLDS)
    for agent in AGENTS
}


def simulation_of(case: Case) -> tuple[str, Simulation]:
    """Name the world, and build it and the agent, with as many configurations as the case has."""
    env, simulation = in_first_world(case)
    grid = {name: np.resize(np.asarray(values), case.configurations) for name, values in simulation.grid.items()}
    simulation = simulation._replace(grid=grid)
    return env, enlarged(simulation) if case.large else simulation


def in_first_world(case: Case) -> tuple[str, Simulation]:
    settings = {"agent": case.agent, "agent_settings": case.agent_settings, "batch_size": case.batch_size}
    for env, world_settings in case.worlds.items():
        config = checked(Config(env=env, env_settings=world_settings, **settings))
        with suppress(InputError):
            return env, build(config)
    raise InputError(f"agent is {case.agent}: none of {', '.join(case.worlds)} takes it")


def enlarged(simulation: Simulation) -> Simulation:
    """Replace the arrays of the world by shapes as of many more users and items: compiling reads no values."""
    users, items = len(simulation.params.user_reward), len(simulation.params.catalogue.features)

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        larger = tuple({users: USERS, items: ITEMS}.get(n, n) for n in leaf.shape)
        return jax.ShapeDtypeStruct(larger, leaf.dtype)

    return simulation._replace(params=jax.tree.map(shape, simulation.params))
