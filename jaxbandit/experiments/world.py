"""The objects that a config names: its world and the factory of its agents, as what is simulated. It simulates nothing.

Names become objects here and nowhere else. Configurations that differ in traced settings alone share one compiled
program: they are a group.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Value, hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.data import fingerprints, load
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config, WorldConfig, check_data, takes_ratings
from jaxbandit.experiments.console import phase
from jaxbandit.simulation.delay import delayed
from jaxbandit.simulation.lanes import Simulation
from jaxbandit.types import Agent, Environment, TracedFactory


class Group(NamedTuple):
    """Configurations that share a compiled program."""

    members: list[int]  # their indices among all configurations
    config: Config  # of the first one
    simulation: Simulation
    read: Mapping[str, str]  # fingerprints of what its world is made of


def make_environment(config: WorldConfig) -> tuple[Environment, PyTree]:
    """Read the ratings, where the environment takes some, and make it with its arrays.

    Raises:
        InputError: the ratings cannot be read, or settings do not go together.
    """
    ratings = [load(config.ratings, **config.reading)] if takes_ratings(config.env) else []
    chosen = {name: value for name, value in config.reading.items() if value != getattr(Config, name)}
    for one in ratings:
        fingerprints.note(config.ratings, one, **chosen)
    return ENVIRONMENTS[config.env](*ratings, **config.env_settings)


def make_same_environment(config: Config) -> tuple[tuple[Environment, PyTree], dict[str, str]]:
    """Make the environment of a config with its arrays, and the fingerprints of what was read for it.

    Raises:
        InputError: that of `make_environment`, or what was read is not what the config says.
    """
    with fingerprints.noted() as read:
        made = make_environment(config.world)
    check_data(config.fingerprints, read)
    return made, read


def build(*configs: Config, made: tuple[Environment, PyTree] | None = None) -> Simulation:
    """Build the simulation of one group: checked configs that differ in traced settings alone.

    `made` is the environment with its arrays, if there is one already.

    Raises:
        InputError: the ratings cannot be read, or settings do not go together.
    """
    config = configs[0]
    environment, params = made or make_same_environment(config)[0]
    traced = traced_settings(config.agent)
    grid = {name: np.array([c.agent_settings[name] for c in configs], np.float32) for name in sorted(traced)}
    factory: TracedFactory = partial(AGENTS[config.agent], environment.spec, **static_settings(config))
    simulation = Simulation(environment, params, factory, grid, config.batch_size)
    check_slates(config, environment, simulation.example_agent)
    if config.delay:
        delay = delayed(factory, environment, params, config.batch_size, config.delay)
        simulation = simulation._replace(factory=delay)
        _ = simulation.example_agent  # refuses what is too large
    return simulation


def build_groups(configs: Sequence[Config]) -> list[Group]:
    """Make the groups of all configurations, each environment once, in the order of their first configurations.

    Raises:
        InputError: that of `build`.
    """
    made: list[tuple[WorldConfig, tuple[tuple[Environment, PyTree], dict[str, str]]]] = []
    groups = []
    for members in group_members(configs):
        config = configs[members[0]]
        environment = next((environment for known, environment in made if known == config.world), None)
        if environment is None:
            with phase(f"building {config.env}"):
                environment = make_same_environment(config)
            made.append((config.world, environment))
        simulation = build(*(configs[i] for i in members), made=environment[0])
        groups.append(Group(members, config, simulation, environment[1]))
    return groups


def group_members(configs: Sequence[Config]) -> list[list[int]]:
    """Indices of the configurations of each group."""
    members: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        static = asdict(replace(config, agent_settings=static_settings(config)))
        members.setdefault(json.dumps(static, sort_keys=True), []).append(index)
    return list(members.values())


def traced_settings(agent: str) -> list[str]:
    """Settings of an agent whose values share a compiled program, in the order of its signature."""
    return [name for name, setting in hyperparameters(AGENTS[agent]).items() if setting.is_traced]


def static_settings(config: Config) -> dict[str, Value]:
    """Settings of the agent each of whose values is a program of its own."""
    traced = traced_settings(config.agent)
    return {name: value for name, value in config.agent_settings.items() if name not in traced}


def check_slates(config: Config, environment: Environment, agent: Agent) -> None:
    """Raise InputError where the environment wants slates and the agent takes one arm, or the other way round."""
    size = environment.spec.slate_size
    if agent.slates != (size > 1):
        wants = f"slates of {size} arms" if size > 1 else "one arm"
        raise InputError(
            f"agent is {config.agent}, but env {config.env} wants {wants} of each user; "
            f"allowed: an agent that {'ranks slates, as cascade-linucb' if size > 1 else 'takes one arm, as linucb'}"
        )


def world_difference(one: WorldConfig, other: WorldConfig) -> str:
    """Say in which entry two worlds differ first: `ratings ml-100k and ml-1m`. Empty where they are the same."""
    pairs = ((f.name, getattr(one, f.name), getattr(other, f.name)) for f in fields(WorldConfig))
    return next((f"{name} {a} and {b}" for name, a, b in pairs if a != b), "")
