"""Which flags `run`, `sweep` and `evaluate` have: those of a Config, and a flag for each setting of what is chosen.

The settings are read off the factories of the agents and the environment. Nothing is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import click

from jaxbandit._core.errors import unknown
from jaxbandit._core.hyperparameters import Value, hyperparameters
from jaxbandit.cli import base_config
from jaxbandit.cli.options import Eta, Flag, Repeated, SettingType, Switch, choice, reading_flag, whole
from jaxbandit.cli.reading import LOG_HELP, READING_HELP
from jaxbandit.experiments.config import LOWEST, REGISTRIES, Config
from jaxbandit.experiments.interaction_log import SAMPLES
from jaxbandit.experiments.search_space import SAMPLERS
from jaxbandit.reporting import METRICS

HELP = {
    "env": "environment; see `jaxbandit list envs`",
    "agent": "agent; see `jaxbandit list agents`",
    "ratings": "data set or path, gs:// too; see `jaxbandit list data`",
    **READING_HELP,
    "batch_size": "users served between two updates of the agent",
    "training_loops": "rounds are training-loops x steps-per-loop",
    "steps_per_loop": "rounds of a loop",
    "delay": "rounds until the agent learns what became of its actions",
    "seeds": "simulations side by side",
    "seed": "root of all random numbers",
}
MOST_SAMPLES = 100_000  # of a propensity: its error is then below .002


def flags_of(command: str, args: Sequence[str]) -> tuple[Config, list[click.Parameter]]:
    """Return the config that the flags of `run`, `sweep` or `evaluate` are put over, and all flags.

    Raises:
        InputError: the arguments name an agent, an environment or a config that there is not.
    """
    if command == "evaluate":
        base = base_config.of_policy(args)
        return base, evaluate_options(args, base)
    base = base_config.of_run(args)
    return base, sweep_options(args, base) if command == "sweep" else [*run_options(args, base), *log_options()]


def run_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make the flags that `run` and `sweep` share, for the agents and the environment that the arguments name.

    Raises:
        InputError: one of these is not registered.
    """
    options: list[click.Parameter] = [
        _field_option(f.name, getattr(base, f.name)) for f in fields(Config) if f.name in HELP
    ]
    options += [
        click.Option(["--config"], metavar="FILE", help="repeat a run: its config.json, or a sweep's best.json"),
        Flag(
            "run",
            "checkpoint_every",
            whole("checkpoint_every"),
            "loops between checkpoints; by default each chunk, while saving takes below a tenth of the time",
        ),
        click.Option(["--out"], metavar="DIR", help="output directory, gs:// too  [default: runs/AGENT-ENV-TIME]"),
        Switch("resume", "go on with what was interrupted in --out"),
        Switch("profile", "trace the first chunks with the JAX profiler"),
        Switch("distributed", "one of several processes; see the README"),
    ]
    chosen = base_config.read_some(args, *(click.Option([f"--{kind}"]) for kind in REGISTRIES)).params
    for kind in REGISTRIES:
        own = getattr(base, kind)
        for name in (own if chosen[kind] is None else chosen[kind]).split(","):
            current = getattr(base, f"{kind}_settings") if name == own else {}
            known = {option.name for option in options}
            options += [option for option in _setting_options(kind, name, current) if option.name not in known]
    return options


def _field_option(name: str, default: Value) -> click.Option:
    if name in READING_HELP:
        return reading_flag(name, default)
    return Flag("run", name, whole(name) if name in LOWEST else click.STRING, HELP[name], default)


def log_options() -> list[click.Parameter]:
    """Make the flags of `run` that no sweep has."""
    return [
        Switch("log_interactions", "write every interaction to Parquet, for `evaluate`"),
        _samples_option("run"),
    ]


def sweep_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make all flags of `sweep`: those that it shares with `run`, and what is swept."""
    title = "sweep"
    grid = "all combinations; log:0.01:100:64 are 64 values; static settings too"
    sample = "draw: log:1e-4:1e-1, linear:0:1, int:1:8 or a,b,c"
    return [
        *run_options(args, base),
        Repeated(title, "grid", "NAME=a,b,c …", grid),
        Repeated(title, "sample", "NAME=RANGE …", sample),
        Flag(title, "num_configs", whole("num_configs"), "draws of --sample, for each agent and grid point"),
        Flag(title, "sampler", choice("sampler", SAMPLERS), "how they are drawn", SAMPLERS[0]),
        Flag(title, "metric", choice("metric", tuple(METRICS)), "what configurations are ranked by", "regret"),
        Flag(title, "halving", Eta(), "go on with the best 1/eta for eta times the rounds, and again"),
        Flag(title, "max_lanes", whole("max_lanes"), "lanes at a time; by default as many as fit the memory"),
    ]


def evaluate_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make all flags of `evaluate` for the agent that the arguments name.

    Raises:
        InputError: it is not registered.
    """
    chosen = base_config.read_some(args, click.Option(["--agent"])).params["agent"]
    agent = base.agent if chosen is None else chosen
    title, current = "evaluate", base.agent_settings if agent == base.agent else {}
    return [
        click.Argument(["log"], metavar="LOG"),
        Flag(title, "agent", click.STRING, "target policy; see `jaxbandit list agents`"),
        Flag(title, "config", click.Path(), "take agent and settings from a run's config.json"),
        Flag(title, "policy_from", click.Path(), "evaluate the agent that this run has trained; else an untrained one"),
        Flag(title, "policy_seed", whole("policy_seed", least=0), "which seed of that run, from 0", 0),
        _samples_option(title),
        Flag(title, "out", click.Path(), "where the numbers go  [default: LOG/evaluation.json]"),
        *(Flag("log of your own", name, click.STRING, words) for name, words in LOG_HELP.items()),
        *_setting_options("agent", agent, current),
    ]


def _samples_option(title: str) -> Flag:
    kind = whole("propensity_samples", least=1, most=MOST_SAMPLES)
    return Flag(title, "propensity_samples", kind, "draws for a probability that an agent does not tell", SAMPLES)


def _setting_options(kind: str, chosen: str, current: Mapping[str, Value]) -> list[click.Parameter]:
    """Make a flag for each setting of an agent or an environment; `current` values are shown as defaults."""
    if chosen not in REGISTRIES[kind]:
        raise unknown(kind, chosen, REGISTRIES[kind])
    title, prefix = f"{kind} {chosen}", f"{kind}__"
    return [
        Flag(title, name, SettingType(setting), setting.doc, current.get(name, setting.default), prefix=prefix)
        for name, setting in hyperparameters(REGISTRIES[kind][chosen]).items()
    ]
