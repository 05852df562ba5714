"""What the numbers of a run depend on: the config, its checks, its file. It makes no objects and reads no ratings."""

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from annotated_types import Ge

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError, unknown
from jaxbandit._core.files import mounted
from jaxbandit._core.hyperparameters import MOST, Hyperparameter, Value, hyperparameters, parse, validate
from jaxbandit.agents import AGENTS
from jaxbandit.data import DATASETS, SHIPPED, Columns, check_options
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.types import AgentFactory, EnvironmentFactory

Settings: TypeAlias = dict[str, Any]  # by name; each a Value once the config is checked
FlagValue: TypeAlias = bool | int | float | str | None  # as a flag, a table or JSON has it
LOWEST = {"batch_size": 1, "training_loops": 1, "steps_per_loop": 1, "delay": 0, "seeds": 1, "seed": 0}
REGISTRIES: dict[str, Mapping[str, AgentFactory | EnvironmentFactory]] = {"env": ENVIRONMENTS, "agent": AGENTS}
READING = ("user_column", "item_column", "rating_column", "duplicates", "encoding", "implicit")  # of a file of ratings
RATINGS = ("ratings", *READING)
BESIDE = ("propensity_samples",)  # entries of a config.json on which no number depends
WAY_OUT = "allowed: a config.json of a run"


@dataclass(frozen=True)
class WorldConfig:
    """The entries of a config that make its world. Equal ones make the same."""

    env: str
    ratings: str
    user_column: str | None
    item_column: str | None
    rating_column: str | None
    duplicates: str
    encoding: str | None
    implicit: bool
    env_settings: Settings

    @property
    def reading(self) -> dict[str, Any]:
        """How the file of ratings is read."""
        return {name: getattr(self, name) for name in READING}


@dataclass(frozen=True)
class Config:
    """Everything that the numbers of a run depend on, and nothing else."""

    env: str = "mf-per-arm"
    agent: str = "linucb"
    ratings: str = "synth-100k"
    user_column: str | None = None
    item_column: str | None = None
    rating_column: str | None = None
    duplicates: str = "error"
    encoding: str | None = None
    implicit: bool = False
    batch_size: int = 128
    training_loops: int = 200
    steps_per_loop: int = 10
    delay: int = 0  # rounds after which the agent learns what became of its actions
    seeds: int = 8
    seed: int = 0
    env_settings: Settings = field(default_factory=dict)
    agent_settings: Settings = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)  # of what was read, by its path; see `data.fingerprints`

    @property
    def rounds(self) -> int:
        """Rounds of each lane."""
        return self.training_loops * self.steps_per_loop

    @property
    def world(self) -> WorldConfig:
        """What makes its world."""
        return WorldConfig(**{f.name: getattr(self, f.name) for f in fields(WorldConfig)})


def checked(config: Config) -> Config:
    """Return the config with its numbers typed, its settings complete, and its paths such as any directory knows them.

    Raises:
        InputError: an unknown name or setting, a value that is not allowed. Nothing has been read or compiled.
    """
    for kind, registry in REGISTRIES.items():
        if getattr(config, kind) not in registry:
            raise unknown(kind, str(getattr(config, kind)), registry)
    whole: dict[str, Any] = {name: _whole(name, getattr(config, name)) for name in LOWEST}
    config = replace(config, **whole)
    if config.rounds > MOST:
        raise InputError(f"training_loops x steps_per_loop is {config.rounds}; allowed: at most {MOST}")
    if config.delay >= config.rounds:
        raise InputError(f"delay is {config.delay} of {config.rounds} rounds; allowed: 0 to {config.rounds - 1}")
    _check_ratings(config)
    env_settings = _complete(config, "env")
    if isinstance(path := env_settings.get("data"), str):
        env_settings["data"] = _absolute(path)
    ratings = _absolute(config.ratings)
    return replace(config, ratings=ratings, env_settings=env_settings, agent_settings=_complete(config, "agent"))


def _absolute(path: str) -> str:
    """Path of a file here, from the root; names of data sets, and paths elsewhere, are kept."""
    if path in DATASETS or path in SHIPPED or "://" in path:
        return path
    local = os.path.abspath(os.path.expanduser(path))
    there = os.path.exists(local) or any(parent.is_file() for parent in Path(local).parents)  # a zip with it
    return local if there else path


def _whole(name: str, value: object) -> int:
    return parse(Hyperparameter(name, "int", default=LOWEST[name], bounds=(Ge(LOWEST[name]),)), value)


def _check_ratings(config: Config) -> None:
    if takes_ratings(config.env):
        columns = Columns(config.user_column, config.item_column, config.rating_column)
        check_options(columns, config.duplicates, config.encoding, config.implicit)
        return
    for name in RATINGS:
        if getattr(config, name) != getattr(Config, name):
            takers = " | ".join(filter(takes_ratings, ENVIRONMENTS))
            raise InputError(
                f"{name} is {getattr(config, name)!r}, but env {config.env} takes no ratings; allowed for env {takers}"
            )


def _complete(config: Config, kind: str) -> dict[str, Value]:
    factory, given = REGISTRIES[kind][getattr(config, kind)], getattr(config, f"{kind}_settings")
    defaults = {name: setting.default for name, setting in hyperparameters(factory).items()}
    return {**defaults, **validate(kind, getattr(config, kind), factory, given)}


def takes_ratings(env: str) -> bool:
    """Whether an environment is made of ratings: its factory takes them as its first argument."""
    factory: Callable[..., object] = ENVIRONMENTS[env]
    return _has_positional(factory)


@cache
def _has_positional(factory: Callable[..., object]) -> bool:
    kinds = [p.kind for p in inspect.signature(factory).parameters.values()]
    return inspect.Parameter.POSITIONAL_OR_KEYWORD in kinds


def changed(base: Config, given: Mapping[str, Any]) -> Config:
    """Put values over a config. Another agent or environment leaves the settings of the old one behind.

    `given` holds fields by name, and settings as `agent__alpha`, `env__rank_k`.
    """
    plain = {f.name: given.get(f.name, getattr(base, f.name)) for f in fields(Config)}
    for kind in REGISTRIES:
        kept = getattr(base, f"{kind}_settings") if plain[kind] == getattr(base, kind) else {}
        new = {name.removeprefix(f"{kind}__"): v for name, v in given.items() if name.startswith(f"{kind}__")}
        plain[f"{kind}_settings"] = {**kept, **new}
    if plain["env"] != base.env and plain["env"] in ENVIRONMENTS and not takes_ratings(plain["env"]):
        plain |= {name: given.get(name, getattr(Config, name)) for name in RATINGS}
    return Config(**plain)


def difference(one: Config, other: Config) -> str:
    """Say in which entry two checked configs differ first: `alpha 1.0 and 2.0`. Empty where they are equal."""
    flat = [{**asdict(config), **config.env_settings, **config.agent_settings} for config in (one, other)]
    for entries in flat:
        del entries["env_settings"], entries["agent_settings"], entries["fingerprints"]
    names = [name for name in (flat[0] | flat[1]) if flat[0].get(name) != flat[1].get(name)]
    return f"{names[0]} {flat[0].get(names[0])} and {flat[1].get(names[0])}" if names else ""


def check_data(kept: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise InputError where what is read at a path is not what was read there before; other paths say nothing."""
    for path in kept.keys() & now.keys():
        if kept[path] != now[path]:
            raise InputError(
                f"{path!r} has changed: it is not what the run has read there; allowed: the file as it was, or a new "
                "run (by --config of a file without that entry of fingerprints)"
            )


def flag_values(config: Config) -> dict[str, FlagValue]:
    """Entries of a checked config by flag, {"agent": "linucb", "batch-size": 128, ...}, but for those without a use."""
    entries = {f.name: getattr(config, f.name) for f in fields(Config) if f.default is not MISSING}
    kept = {name: value for name, value in entries.items() if name not in RATINGS or takes_ratings(config.env)}
    settings = {**kept, **config.env_settings, **config.agent_settings}
    return {name.replace("_", "-"): plain(value) for name, value in settings.items() if value is not None}


def plain(value: Value) -> FlagValue:
    """Write a tuple of whole numbers as 64x32; other values are themselves."""
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else value


def read_config(path: str, *, kept: bool = False) -> Config:
    """Read a config: a run's config.json, a sweep's best.json (flags and their values), or a study's result.json.

    People may have edited it, unless it is `kept`: that of a run in its directory.

    Raises:
        InputError: the file is missing, is no JSON object, is that of a sweep, or has an unknown or a wrong entry.
    """
    content = read_object(path, kept=kept)
    if isinstance(content.get("config"), dict):  # of a result.json, beside what the study says
        content = content["config"]
    if "base" in content:
        raise InputError(f"config {path!r} holds a sweep; allowed: the --out of a run, or the best.json of a sweep")
    return checked(read_entries(content))


def read_object(path: str, *, kept: bool = False) -> dict[str, Any]:
    """Read the JSON object of a config; InputError if it is none, or `kept` and not what was written."""
    if kept:
        return sealed.read(mounted(path), "allowed: the file as it was written, or another directory")
    return sealed.read_edited(mounted(path), WAY_OUT)


def read_entries(content: Mapping[str, object]) -> Config:
    """Make a config of its entries; those that are no fields are settings of its environment or agent.

    Raises:
        InputError: an unknown or a wrong entry.
    """
    entries = {name.replace("-", "_"): value for name, value in content.items()}
    entries = {name: value for name, value in entries.items() if name not in BESIDE}
    names = {f.name for f in fields(Config)}
    config = Config(**{name: _typed(name, value) for name, value in entries.items() if name in names})
    rest = {name: value for name, value in entries.items() if name not in names}
    for kind, registry in REGISTRIES.items():
        chosen, settings = getattr(config, kind), getattr(config, f"{kind}_settings")  # a dict of this config alone
        known = hyperparameters(registry[chosen]) if chosen in registry else {}
        settings |= {name: rest.pop(name) for name in known if name in rest}
    for name in rest:
        raise unknown("entry of the config", name, names)
    return config


def _typed(name: str, value: Any) -> Any:
    """Return the value of an entry of a config.json, of the type that Config has for it."""
    default = {f.name: () if f.default is MISSING else f.default for f in fields(Config)}
    if name in LOWEST:
        return _whole(name, value)
    if default[name] == () and not isinstance(value, dict):
        raise InputError(f"{name} is {value!r}; allowed: an object of names and values")
    if name == "fingerprints" and not all(
        isinstance(x, str) and re.fullmatch("[0-9a-f]{64}", x) for x in value.values()
    ):
        raise InputError(f"{name} is {value!r}; allowed: paths and the SHA-256 of what was read there")
    if isinstance(default[name], bool) and not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; allowed: true | false")
    if default[name] != () and not isinstance(value, str | type(default[name])):
        raise InputError(f"{name} is {value!r}; allowed: text")
    return value
