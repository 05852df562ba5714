"""Grids and samples -> the changes that make configurations: what `--grid` and `--sample` say. It checks no configs."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from annotated_types import Ge, Le

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters, parse
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import LOWEST, plain

SWEPT_FIELDS = ("batch_size", "training_loops", "steps_per_loop", "delay")
SAMPLERS = ("sobol", "random")
DIGITS = 6  # of drawn numbers, so that what is written down is what was run
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
) -> list[dict[str, Any]]:
    """Make the changes of all configurations: for each agent, grid point and draw one.

    `grid` maps names to `1,2,5`, or to `log:0.01:100:64` with the number of values at the end; `sample` maps them to
    `log:1e-4:1e-1`, `linear:0:1`, `int:1:8` or `a,b,c`. An entry that only some of the agents have is left out for the
    others.

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
    known = {agent: _sweepable(agent, env) for agent in agents}
    for name in (*grid, *sample):
        if not any(name in settings for settings in known.values()):
            raise refused_name("nothing to sweep is called", name, {n for s in known.values() for n in s})
    found: dict[str, dict[str, Any]] = {}
    for agent, settings in known.items():
        axes = {name: _values(settings[name], text) for name, text in grid.items() if name in settings}
        ranges = {name: _range(settings[name], text) for name, text in sample.items() if name in settings}
        count = num_configs if ranges and num_configs else 1
        if (whole := count * math.prod(map(len, axes.values()))) > MOST:
            raise too_many(whole)
        points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        draws = _draw(ranges, count, sampler, seed)
        for point, draw in product(points, draws):
            change = {"agent": agent, **point, **draw}
            found.setdefault(json.dumps(change), change)
    return list(found.values())


def too_many(count: int) -> InputError:
    """Build the error for a number of configurations that no sweep has."""
    return InputError(f"the sweep has {count:,} configurations; allowed: 1 to {MOST:,}")


def _sweepable(agent: str, env: str) -> dict[str, Hyperparameter]:
    fields = {name: Hyperparameter(name, "int", default=1, bounds=(Ge(LOWEST[name]),)) for name in SWEPT_FIELDS}
    settings = {**fields, **hyperparameters(ENVIRONMENTS[env]), **hyperparameters(AGENTS[agent])}
    return {dashed(name): setting for name, setting in settings.items()}


def _values(setting: Hyperparameter, text: str) -> list[Any]:
    """Read the values of a grid: a,b,c or COUNT of them from LOW to HIGH; a tuple of whole numbers is 64x32 there."""
    if text.startswith(("log:", "linear:")):
        if text.count(":") != 3:
            raise InputError(f"{setting.name} is {text!r}; allowed: {text.partition(':')[0]}:LOW:HIGH:COUNT")
        ends, _, count = text.rpartition(":")
        scale, low, high = _range(setting, ends)
        steps = parse(setting._replace(name=f"COUNT of {setting.name}", kind="int", bounds=(Ge(2), Le(MOST))), count)
        space = np.geomspace if scale == "log" else np.linspace
        return [_rounded(value, low, high) for value in space(low, high, steps)]
    parts = (None if part == "auto" and setting.default is None else part for part in text.split(","))
    return list(dict.fromkeys(plain(parse(setting, part)) for part in parts))


def _range(setting: Hyperparameter, text: str) -> list[Any] | tuple[str, float | int, float | int]:
    """Read what a sample draws from: a list of values, or scale, low, high."""
    scale, *ends = text.split(":")
    if scale not in ("log", "linear", "int"):
        return _values(setting, text)
    words = f"{setting.name} is {text!r}; allowed: "
    if len(ends) != 2:
        raise InputError(f"{words}{scale}:LOW:HIGH")
    if (scale == "int") != (setting.kind == "int") or setting.kind not in ("int", "float"):
        ranges = {"int": "int:LOW:HIGH", "float": "log:LOW:HIGH | linear:LOW:HIGH"}
        raise InputError(f"{words}{ranges.get(setting.kind, 'a,b,c')}")
    low, high = (parse(setting, end) for end in ends)
    if low >= high or (scale == "log" and low <= 0):
        raise InputError(f"{words}LOW < HIGH{', both > 0' if scale == 'log' else ''}")
    return scale, low, high


def _draw(ranges: Mapping[str, Any], count: int, sampler: str, seed: int) -> list[dict[str, Any]]:
    """Draw points of the unit cube and stretch each axis to its range."""
    stretch = [partial(_stretch, place) for place in ranges.values()]
    drawn = points(len(ranges), count, sampler, seed)
    return [dict(zip(ranges, (f(u) for f, u in zip(stretch, p, strict=True)), strict=True)) for p in drawn]


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


def _stretch(place: list[Any] | tuple[str, float | int, float | int], u: float) -> Any:
    if isinstance(place, list):
        return place[int(u * len(place))]
    scale, low, high = place
    if scale == "int":
        return int(low + math.floor(u * (high - low + 1)))
    value = low * (high / low) ** u if scale == "log" else low + u * (high - low)
    return _rounded(value, low, high)


def _rounded(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)  # rounding may lead out of a narrow range


def dashed(name: str) -> str:
    """Write a name as its flag has it."""
    return name.replace("_", "-")
