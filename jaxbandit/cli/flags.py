"""Flags of `run` and `sweep`: those of a Config, and those read off the factories that it names. They start no run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import click
from annotated_types import Ge, Le

from jaxbandit._core.errors import InputError, nearest, unknown
from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters, parse
from jaxbandit.experiments.config import LOWEST, REGISTRIES, Config, checked, read_config, read_entries, read_object
from jaxbandit.experiments.interaction_log import SAMPLES
from jaxbandit.experiments.run_directory import config_file
from jaxbandit.experiments.search_space import SAMPLERS
from jaxbandit.experiments.sweep_config import Plan, read_plan
from jaxbandit.reporting import METRICS

HELP = {
    "env": "environment; see `jaxbandit list envs`",
    "agent": "agent; see `jaxbandit list agents`",
    "ratings": "data set or path, gs:// too; see `jaxbandit list data`",
    "user_column": "column of user ids in a file of your own",
    "item_column": "column of item ids",
    "rating_column": "column of ratings",
    "batch_size": "users served between two updates of the agent",
    "training_loops": "rounds are training-loops x steps-per-loop",
    "steps_per_loop": "rounds of a loop",
    "delay": "rounds until the agent learns what became of its actions",
    "seeds": "simulations side by side",
    "seed": "root of all random numbers",
}
MOST_SAMPLES = 100_000  # of a propensity: its error is then below .002
SAMPLES_HELP = "draws for a probability that an agent does not tell"
PLACEHOLDERS = {
    "choice": "",
    "text": "text",
    "ints": "n,n,…",
    "floats": "x,x,…",
    "bool": "true|false",
    "int": "n",
    "float": "x",
}


class SettingType(click.ParamType):
    """A value of one setting, checked against its kind and bounds."""

    def __init__(self, setting: Hyperparameter) -> None:
        self.setting = setting
        self.name = "|".join(setting.choices) or PLACEHOLDERS[setting.kind]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn text into the setting's kind."""
        return parse(self.setting, None if value == "auto" and self.setting.default is None else value)


class Flag(click.Option):
    """A flag with a value, and the heading of the help under which it stands."""

    def __init__(self, title: str, prefix: str, kind: click.ParamType, name: str, words: str, default: Any) -> None:
        shown = "" if default is None and not isinstance(kind, SettingType) else f"  [default: {_shown(default)}]"
        names = [f"--{_dashed(name)}", f"{prefix}{name}"]
        super().__init__(names, type=kind, metavar=kind.name if kind.name != "text" else "NAME", help=words + shown)
        self.title = title


def base_config(args: Sequence[str]) -> Config:
    """Read the config that the flags are put over: that of --config, or of the run that is to be resumed.

    Raises:
        InputError: there is none that can be read.
    """
    path, out = value_of(args, "--config"), value_of(args, "--out")
    if path is not None:
        return read_config(path)
    path = config_file(out) if out is not None and {"--resume", "--resume=true"} & set(args) else None
    if path is None:
        return Config()
    content = read_object(path)
    return read_plan(content).base if "base" in content else checked(read_entries(content))


def kept_plan(out: str) -> Plan:
    """Read the plan of the sweep in a directory.

    Raises:
        InputError: there is none.
    """
    path = config_file(out)
    content = read_object(path) if path is not None else {}
    if "base" not in content:
        raise InputError(f"resume: {out!r} holds no sweep; allowed: the --out of an interrupted sweep")
    return read_plan(content)


def run_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make all flags of `jaxbandit run` for the agents and the environment that the arguments name.

    Raises:
        InputError: one of these is not registered.
    """
    options: list[click.Parameter] = [
        Flag(
            "run", "", Whole(f.name) if f.name in LOWEST else click.STRING, f.name, HELP[f.name], getattr(base, f.name)
        )
        for f in fields(Config)
        if f.name in HELP
    ]
    options += [
        click.Option(["--config"], metavar="FILE", help="repeat a run: its config.json, or a sweep's best.json"),
        Flag("run", "", Whole("checkpoint_every"), "checkpoint_every", "loops between checkpoints; each chunk", None),
        click.Option(["--out"], metavar="DIR", help="output directory, gs:// too  [default: runs/AGENT-ENV-TIME]"),
        click.Option(["--resume"], is_flag=True, help="go on with what was interrupted in --out"),
        click.Option(["--profile"], is_flag=True, help="trace the first chunks with the JAX profiler"),
        click.Option(["--distributed"], is_flag=True, help="one of several processes; see the README"),
    ]
    for kind in REGISTRIES:
        names = str(value_of(args, f"--{kind}", getattr(base, kind))).split(",")
        for name in names:
            current = getattr(base, f"{kind}_settings") if name == getattr(base, kind) else {}
            known = {option.name for option in options}
            options += [option for option in _setting_options(kind, name, current) if option.name not in known]
    return options


def log_options() -> list[click.Parameter]:
    """Make the flags of `jaxbandit run` that no sweep has."""
    return [
        click.Option(["--log-interactions"], is_flag=True, help="write every interaction to Parquet, for `evaluate`"),
        Flag("run", "", Samples(), "propensity_samples", SAMPLES_HELP, SAMPLES),
    ]


def policy_base(args: Sequence[str]) -> Config:
    """Read the config that the flags of `jaxbandit evaluate` are put over: that of --policy-from, or of --config.

    Raises:
        InputError: both are given, or there is none that can be read.
    """
    run, path = (value_of(args, flag) for flag in ("--policy-from", "--config"))
    if run is not None and path is not None:
        raise InputError("policy_from and config are both given; allowed: one of them")
    if run is not None and config_file(run) is None:
        raise InputError(f"policy_from is {run!r}, which holds no run; allowed: the --out of a run")
    return Config() if run is None and path is None else read_config(path or str(config_file(run or "")))


def evaluate_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make all flags of `jaxbandit evaluate` for the agent that the arguments name.

    Raises:
        InputError: it is not registered.
    """
    agent = str(value_of(args, "--agent", base.agent))
    title, current = "evaluate", base.agent_settings if agent == base.agent else {}
    return [
        click.Argument(["log"], metavar="LOG"),
        Flag(title, "", click.STRING, "agent", "target policy; see `jaxbandit list agents`", None),
        Flag(title, "", click.Path(), "config", "take agent and settings from a run's config.json", None),
        Flag(title, "", click.Path(), "policy_from", "act as that run's agent at its end; else untrained", None),
        Flag(title, "", Whole("policy_seed", 0), "policy_seed", "which of that run's simulations", 0),
        Flag(title, "", Samples(), "propensity_samples", SAMPLES_HELP, SAMPLES),
        Flag(title, "", click.Path(), "out", "where the numbers go  [default: LOG/evaluation.json]", None),
        *_setting_options("agent", agent, current),
    ]


def sweep_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make all flags of `jaxbandit sweep`: those of `run`, and what is swept."""
    title = "sweep"
    return [
        *run_options(args, base),
        Repeated(title, "grid", "NAME=a,b,c …", "all combinations; log:0.01:100:64 are 64 values; static settings too"),
        Repeated(title, "sample", "NAME=RANGE …", "draw: log:1e-4:1e-1, linear:0:1, int:1:8 or a,b,c"),
        Flag(title, "", Whole("num_configs"), "num_configs", "draws of --sample, for each agent and grid point", None),
        Flag(title, "", Choice("sampler", SAMPLERS), "sampler", "how they are drawn", SAMPLERS[0]),
        Flag(title, "", Choice("metric", tuple(METRICS)), "metric", "what configurations are ranked by", "regret"),
        Flag(title, "", Eta(), "halving", "go on with the best 1/eta for eta times the rounds, and again", None),
        Flag(title, "", Whole("max_lanes"), "max_lanes", "lanes at a time; as many as fit the memory", None),
    ]


def spread(args: Sequence[str]) -> list[str]:
    """Let --grid and --sample take several values: `--grid a=1 b=2` is `--grid a=1 --grid b=2`."""
    found: list[str] = []
    flag = None
    for arg in args:
        if arg.startswith("-"):
            flag = arg if arg in ("--grid", "--sample") else None
        elif flag is not None and found[-1] != flag and "=" in arg:
            found.append(flag)
        found.append(arg)
    return found


def bare(args: Sequence[str], params: Sequence[click.Parameter]) -> list[str]:
    """Take values off the flags that have none, as tuning services write them: --resume=true is --resume.

    Raises:
        InputError: the value is neither true nor false.
    """
    names = {name for param in params if isinstance(param, click.Option) and param.is_flag for name in param.opts}
    found = []
    for arg in args:
        name, given, value = arg.partition("=")
        truth = Hyperparameter(name.lstrip("-").replace("-", "_"), "bool", default=False)
        if not (given and name in names):
            found.append(arg)
        elif parse(truth, value):
            found.append(name)
    return found


def axes(flag: str, values: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUES.

    Raises:
        InputError: there is no =, nothing after it, or a name twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, _, text = value.partition("=")
        if not name or not text:
            raise InputError(f"{flag} is {value!r}; allowed: NAME=VALUES, as alpha=0.1,1,10")
        if name.replace("_", "-") in found:
            raise InputError(f"{flag} has {name} twice; allowed: once")
        found[name.replace("_", "-")] = text
    return found


def _setting_options(kind: str, name: str, current: Mapping[str, Any]) -> list[click.Parameter]:
    if name not in REGISTRIES[kind]:
        raise unknown(kind, name, REGISTRIES[kind])
    settings = hyperparameters(REGISTRIES[kind][name])
    return [
        Flag(f"{kind} {name}", f"{kind}__", SettingType(s), s.name, s.doc, current.get(s.name, s.default))
        for s in settings.values()
    ]


def no_such_flag(flag: str, params: Sequence[click.Parameter]) -> InputError:
    """Build the error for a flag that neither the run nor the chosen agent and environment have."""
    known: dict[str, list[str]] = {}
    for param in params:
        known.setdefault(getattr(param, "title", "run"), []).append(param.opts[0])
    near = nearest(flag, sorted(name for names in known.values() for name in names))
    hint = f"did you mean {near!r}? " if near else ""
    settings = (f"{title} has {' '.join(names)}" for title, names in known.items() if title != "run")
    return InputError(f"unknown flag {flag!r}: {hint}allowed: those of `jaxbandit run --help`; {'; '.join(settings)}")


def write_help(params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Show the flags of the run, of the environment and of the agent apart."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        record = param.get_help_record(ctx)
        if record:
            groups.setdefault(getattr(param, "title", "run"), []).append(record)
    for title, records in groups.items():
        with formatter.section(title):
            formatter.write_dl(records)


class Repeated(click.Option):
    """A flag that may be given several times, and the heading of the help under which it stands."""

    def __init__(self, title: str, name: str, shape: str, words: str) -> None:
        super().__init__([f"--{name}"], multiple=True, metavar=shape, help=words)
        self.title = title


class Choice(SettingType):
    """One of a few words."""

    def __init__(self, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(Hyperparameter(name, "choice", default=choices[0], choices=choices))


class Eta(click.ParamType):
    """The factor of successive halving, as eta=3 or 3."""

    name = "eta=n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        setting = Hyperparameter("halving", "int", default=None, bounds=(Ge(2),))
        return parse(setting, str(value).removeprefix("eta="))


class Whole(SettingType):
    """A whole number, also as 32.0, which is how tuning services write it."""

    def __init__(self, name: str, least: int | None = None) -> None:
        bounds = () if least is None else (Ge(least),)
        super().__init__(Hyperparameter(name, "int", default=0, bounds=bounds))


class Samples(SettingType):
    """Draws for a propensity."""

    def __init__(self) -> None:
        bounds = (Ge(1), Le(MOST_SAMPLES))
        super().__init__(Hyperparameter("propensity_samples", "int", default=0, bounds=bounds))


def value_of(args: Sequence[str], flag: str, default: str | None = None) -> str | None:
    """Value of a flag before the arguments are parsed; the last one counts, as it does there."""
    found = default
    for i, arg in enumerate(args):
        if arg.startswith(f"{flag}="):
            found = arg.partition("=")[2]
        elif arg == flag and i + 1 < len(args):
            found = args[i + 1]
    return found


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _shown(default: Any) -> str:
    if default is None:
        return "auto"
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, (tuple, list)) else str(default)
