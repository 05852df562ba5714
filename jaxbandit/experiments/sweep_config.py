"""What the numbers of a sweep depend on: a config, the changes that make each configuration of it, and their order.

It runs nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments import search_space
from jaxbandit.experiments.config import Config, changed, checked, plain, read_entries
from jaxbandit.experiments.search_space import SAMPLERS, SWEPT_FIELDS, dashed, expand, too_many
from jaxbandit.reporting import METRICS


@dataclass(frozen=True)
class SweepConfig:
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
        if not 1 <= len(self.configurations) <= search_space.MOST:
            raise too_many(len(self.configurations))
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


def read_sweep_config(content: Mapping[str, Any]) -> SweepConfig:
    """Read the content of a sweep's config.json.

    Raises:
        InputError: it has an unknown or a wrong entry.
    """
    try:
        base, changes, eta = checked(read_entries(content["base"])), tuple(content["configurations"]), content["eta"]
        if not isinstance(eta, int | None) or not all(isinstance(change, dict) for change in changes):
            raise TypeError
        return SweepConfig(base, changes, str(content["metric"]), eta)
    except (KeyError, TypeError, AttributeError):
        raise InputError("config is not that of a sweep; allowed: the config.json of one") from None


def with_fingerprints(asked: Config | SweepConfig, read: Mapping[str, str]) -> Config | SweepConfig:
    """Note in a config what was read for it."""
    if isinstance(asked, SweepConfig):
        return replace(asked, base=replace(asked.base, fingerprints=dict(read)))
    return replace(asked, fingerprints=dict(read))


def difference(one: SweepConfig, other: SweepConfig) -> str:
    """Say in which entry two sweeps differ first; empty where they are equal."""
    entries = [json.loads(json.dumps(asdict(sweep_config))) for sweep_config in (one, other)]
    flat = [{**e["base"], **e, "configurations": len(e["configurations"])} for e in entries]
    names = [n for n in flat[0] if n not in ("base", "fingerprints") and flat[0][n] != flat[1][n]]
    if names:
        return f"{names[0]} {flat[0][names[0]]} and {flat[1][names[0]]}"
    pairs = zip(entries[0]["configurations"], entries[1]["configurations"], strict=True)
    return next((f"configuration {a} and {b}" for a, b in pairs if a != b), "")


def make_sweep_config(
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
) -> SweepConfig:
    """Put `given` entries over a config, as `changed` takes them, and make the configurations of a sweep around it.

    A setting that several agents have is given to all of them.

    Raises:
        InputError: nothing is swept, a setting is given and swept, or the two samples of a name; bad values.
    """
    settings = {name.removeprefix("agent__"): v for name, v in given.items() if name.startswith("agent__")}
    names = {name.replace("-", "_") for name in (*grid, *sample)}
    if twice := next((n for n in given if n.rpartition("__")[2] in names), None):
        raise InputError(f"{dashed(twice.rpartition('__')[2])} is given a value and swept; allowed: one of them")
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
        known = hyperparameters(AGENTS[str(change["agent"])])
        change |= {dashed(name): plain(value) for name, value in settings.items() if name in known}
    return SweepConfig(base, tuple(changes), metric, eta)


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
