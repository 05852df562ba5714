"""What the numbers of a sweep depend on: a config, the changes that make each configuration of it, and their order.

Values of a grid and draws of a sample become such changes here. It runs nothing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from annotated_types import Ge, Le

from jaxbandit.agents import AGENTS
from jaxbandit.config import LOWEST, Config, changed, checked, plain, read_entries
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.errors import InputError, refused_name
from jaxbandit.hyperparameters import Hyperparameter, hyperparameters, parse
from jaxbandit.reporting import METRICS

SWEPT_FIELDS = ("batch_size", "training_loops", "steps_per_loop", "delay")
SAMPLERS = ("sobol", "random")
DIGITS = 6  # of drawn numbers, so that what is written down is what was run
MOST = 100_000  # configurations


@dataclass(frozen=True)
class Plan:
    """A sweep: every configuration is `base` with some entries changed, and meets the same users as all others."""

    base: Config = field(default_factory=Config)
    configurations: tuple[dict[str, Any], ...] = ()  # flag names with dashes -> values; "agent" first where it changes
    metric: str = "regret"
    eta: int | None = None  # of successive halving

    def configs(self) -> list[Config]:
        """All configurations, checked.

        Raises:
            InputError: an unknown name or setting, a value that is not allowed, no configuration or too many.
        """
        if not 1 <= len(self.configurations) <= MOST:
            raise _too_many(len(self.configurations))
        if self.eta is not None and self.eta < 2:
            raise InputError(f"halving: eta is {self.eta}; allowed: a whole number >= 2")
        if self.metric not in METRICS:
            raise refused_name("unknown metric", self.metric, METRICS)
        return [checked(changed(self.base, _entries(self.base, change))) for change in self.configurations]

    @property
    def swept(self) -> list[str]:
        """Names that change between configurations."""
        values: dict[str, set[str]] = {}
        for change in self.configurations:
            for name, value in change.items():
                values.setdefault(name, set()).add(str(value))
        return [name for name, different in values.items() if len(different) > 1]


def read_plan(content: Mapping[str, Any]) -> Plan:
    """Make the plan of the content of a sweep's config.json.

    Raises:
        InputError: it has an unknown or a wrong entry.
    """
    try:
        base, changes, eta = checked(read_entries(content["base"])), tuple(content["configurations"]), content["eta"]
        if not isinstance(eta, int | None) or not all(isinstance(change, dict) for change in changes):
            raise TypeError
        return Plan(base, changes, str(content["metric"]), eta)
    except (KeyError, TypeError, AttributeError):
        raise InputError("config is not that of a sweep; allowed: the config.json of one") from None


def difference(one: Plan, other: Plan) -> str:
    """Say in which entry two plans differ first; empty where they are equal."""
    entries = [json.loads(json.dumps(asdict(plan))) for plan in (one, other)]
    flat = [{**e["base"], **e, "configurations": len(e["configurations"])} for e in entries]
    names = [n for n in flat[0] if n != "base" and flat[0][n] != flat[1][n]]
    if names:
        return f"{names[0]} {flat[0][names[0]]} and {flat[1][names[0]]}"
    pairs = zip(entries[0]["configurations"], entries[1]["configurations"], strict=True)
    return next((f"configuration {a} and {b}" for a, b in pairs if a != b), "")


def make_plan(
    base: Config,
    given: Mapping[str, Any],
    agents: Sequence[str],
    *,
    grid: Mapping[str, str],
    sample: Mapping[str, str],
    num_configs: int | None = None,
    sampler: str = SAMPLERS[0],
    metric: str = "regret",
    eta: int | None = None,
) -> Plan:
    """Put `given` entries over a config, as `changed` takes them, and make a plan of what is swept around it.

    A setting that several agents have is given to all of them.

    Raises:
        InputError: nothing is swept, a setting is given and swept, or the two samples of a name; bad values.
    """
    settings = {name.removeprefix("agent__"): v for name, v in given.items() if name.startswith("agent__")}
    names = {name.replace("-", "_") for name in (*grid, *sample)}
    if twice := next((n for n in given if n.rpartition("__")[2] in names), None):
        raise InputError(f"{_dashed(twice.rpartition('__')[2])} is given a value and swept; allowed: one of them")
    lead = base.agent if base.agent in agents else agents[0]  # keeps its settings in the config
    own = hyperparameters(AGENTS[lead])
    fitting = {name: v for name, v in given.items() if not name.startswith("agent__") or name[7:] in own}
    base = checked(changed(base, {**fitting, "agent": lead}))
    draws: dict[str, Any] = {"num_configs": num_configs, "sampler": sampler, "seed": base.seed}
    changes = expand(agents, base.env, grid=grid, sample=sample, **draws)
    if len(changes) == 1:
        raise InputError("there is one configuration; allowed: --grid, --sample or several agents with more, or `run`")
    if eta is not None and eta >= len(changes):
        raise InputError(f"halving: eta is {eta} and there are {len(changes)} configurations; allowed: a smaller eta")
    for change in changes:
        known = hyperparameters(AGENTS[change["agent"]])
        change |= {_dashed(name): plain(value) for name, value in settings.items() if name in known}
    return Plan(base, tuple(changes), metric, eta)


def groups(configs: Sequence[Config]) -> list[list[int]]:
    """Indices of configurations that share a compiled program: those that differ in traced settings alone."""
    found: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        static = {k: v for k, v in config.agent_settings.items() if k not in traced(config.agent)}
        found.setdefault(json.dumps(asdict(replace(config, agent_settings=static)), sort_keys=True), []).append(index)
    return list(found.values())


def traced(agent: str) -> list[str]:
    """Settings of an agent that are traced, in order."""
    return [name for name, setting in hyperparameters(AGENTS[agent]).items() if setting.is_traced]


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
    grid, sample = ({_dashed(name): text for name, text in (axes or {}).items()} for axes in (grid, sample))
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
            raise _too_many(whole)
        points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        draws = _draw(ranges, count, sampler, seed)
        for point, draw in product(points, draws):
            change = {"agent": agent, **point, **draw}
            found.setdefault(json.dumps(change), change)
    return list(found.values())


def _too_many(count: int) -> InputError:
    return InputError(f"the sweep has {count:,} configurations; allowed: 1 to {MOST:,}")


def _entries(base: Config, change: Mapping[str, Any]) -> dict[str, Any]:
    """Entries as `changed` takes them: fields by name, settings as agent__NAME and env__NAME."""
    agent, entries = str(change.get("agent", base.agent)), {}
    for name, value in change.items():
        plain = name.replace("-", "_")
        if plain in ("agent", *SWEPT_FIELDS):
            entries[plain] = value
        elif plain in hyperparameters(ENVIRONMENTS[base.env]):
            entries[f"env__{plain}"] = value
        else:
            entries[f"agent__{plain}"] = value
    return {**entries, "agent": agent}


def _sweepable(agent: str, env: str) -> dict[str, Hyperparameter]:
    fields = {name: Hyperparameter(name, "int", 1, (), (Ge(LOWEST[name]),), "") for name in SWEPT_FIELDS}
    settings = {**fields, **hyperparameters(ENVIRONMENTS[env]), **hyperparameters(AGENTS[agent])}
    return {_dashed(name): setting for name, setting in settings.items()}


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
    if sampler not in SAMPLERS:
        raise InputError(f"sampler is {sampler!r}; allowed: {' | '.join(SAMPLERS)}")
    if sampler == "sobol" and ranges:
        from scipy.stats import qmc

        points = qmc.Sobol(len(ranges), rng=seed).random_base2(math.ceil(math.log2(count)))[:count]
    else:
        points = np.random.default_rng(seed).random((count, len(ranges)))
    stretch = [partial(_stretch, place) for place in ranges.values()]
    return [dict(zip(ranges, (f(u) for f, u in zip(stretch, p, strict=True)), strict=True)) for p in points.tolist()]


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


def _dashed(name: str) -> str:
    return name.replace("_", "-")
