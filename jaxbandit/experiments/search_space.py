"""Grids and samples -> the changes that make configurations: what `--grid` and `--sample` say. It checks no configs."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from annotated_types import Ge

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import LOWEST
from jaxbandit.experiments.ranges import Range, Value, Values, read_range, read_values

SWEPT_FIELDS = ("batch_size", "training_loops", "steps_per_loop", "delay")
SAMPLERS = ("sobol", "random")
MOST = 100_000  # configurations


def expand(
    agents: Sequence[str],
    env: str,
    *,
    grid: Mapping[str, str] | None = None,
    sample: Mapping[str, str] | None = None,
    num_configs: int | None = None,
    sampler: str = "sobol",
    seed: int = 0,
) -> list[dict[str, Value]]:
    """Make the changes of all configurations: for each agent, grid point and draw one.

    `grid` and `sample` map names to what `read_values` and `read_range` read. A setting that only some of the agents
    have is left out for the others.

    Raises:
        InputError: none of the agents and not the environment has the setting, a value or a range is not allowed.
    """
    grid, sample = ({dashed(name): text for name, text in (axes or {}).items()} for axes in (grid, sample))
    if twice := next((name for name in grid if name in sample), None):
        raise InputError(f"{twice} is in grid and in sample; allowed: one of them")
    if bool(sample) != (num_configs is not None):
        raise InputError("sample and num-configs go together; allowed: both or none")
    if num_configs is not None and not 1 <= num_configs <= MOST:
        raise InputError(f"num_configs is {num_configs}; allowed: 1 to {MOST:,}")
    known = {agent: sweepable(agent, env) for agent in agents}
    for name in (*grid, *sample):
        if not any(name in settings for settings in known.values()):
            raise refused_name("nothing to sweep is called", name, {n for s in known.values() for n in s})
    changes: dict[str, dict[str, Value]] = {}
    for agent, settings in known.items():
        axes = {name: read_values(settings[name], text) for name, text in grid.items() if name in settings}
        ranges = {name: read_range(settings[name], text) for name, text in sample.items() if name in settings}
        count = num_configs if ranges and num_configs else 1
        if (whole := count * math.prod(map(len, axes.values()))) > MOST:
            raise too_many(whole)
        combinations = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        for combination, draw in product(combinations, _draw(ranges, count, sampler, seed)):
            change = {"agent": agent, **combination, **draw}
            changes.setdefault(json.dumps(change), change)
    return list(changes.values())


def too_many(count: int) -> InputError:
    """Build the error for a number of configurations that no sweep has."""
    return InputError(f"the sweep has {count:,} configurations; allowed: 1 to {MOST:,}")


def sweepable(agent: str, env: str) -> dict[str, Hyperparameter]:
    """Settings that may change between configurations, under the names of their flags."""
    fields = {name: Hyperparameter(name, "int", default=1, bounds=(Ge(LOWEST[name]),)) for name in SWEPT_FIELDS}
    settings = {**fields, **hyperparameters(ENVIRONMENTS[env]), **hyperparameters(AGENTS[agent])}
    return {dashed(name): setting for name, setting in settings.items()}


def _draw(ranges: Mapping[str, Range | Values], count: int, sampler: str, seed: int) -> list[dict[str, Value]]:
    """Draw points of the unit cube, and take the values at their coordinates."""
    drawn = points(len(ranges), count, sampler, seed)
    return [{name: space.at(u) for (name, space), u in zip(ranges.items(), p, strict=True)} for p in drawn]


def points(dim: int, count: int, sampler: str, seed: int) -> list[list[float]]:
    """Draw points of the unit cube.

    Raises:
        InputError: an unknown sampler.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"sampler is {sampler!r}; allowed: {' | '.join(SAMPLERS)}")
    if sampler == "sobol" and dim:
        from scipy.stats import qmc

        return qmc.Sobol(dim, rng=seed).random_base2(math.ceil(math.log2(count)))[:count].tolist()
    return np.random.default_rng(seed).random((count, dim)).tolist()


def dashed(name: str) -> str:
    """Write a name as its flag has it."""
    return name.replace("_", "-")
