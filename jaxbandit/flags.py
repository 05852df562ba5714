"""Flags of `jaxbandit run`: those of a Config, and those read off the factories that it names. They start no run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import click

from jaxbandit.config import LOWEST, REGISTRIES, Config, read_config
from jaxbandit.errors import InputError, nearest, unknown
from jaxbandit.hyperparameters import Hyperparameter, hyperparameters, parse
from jaxbandit.output import config_file

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
    "seeds": "simulations side by side",
    "seed": "root of all random numbers",
}
PLACEHOLDERS = {"choice": "", "ints": "n,n,…", "bool": "true|false", "int": "n", "float": "x"}


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
    if path is None and out is not None and "--resume" in args:
        path = config_file(out)
    return read_config(path) if path is not None else Config()


def run_options(args: Sequence[str], base: Config) -> list[click.Parameter]:
    """Make all flags of `jaxbandit run` for the agent and the environment that the arguments name.

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
        click.Option(["--config"], metavar="FILE", help="repeat a run: its config.json; other flags win"),
        Flag(
            "run", "", Whole("checkpoint_every"), "checkpoint_every", "loops between checkpoints; a fifth of all", None
        ),
        click.Option(["--out"], metavar="DIR", help="output directory, gs:// too  [default: runs/AGENT-ENV-TIME]"),
        click.Option(["--resume"], is_flag=True, help="go on with the interrupted run in --out"),
    ]
    for kind in REGISTRIES:
        name = value_of(args, f"--{kind}", getattr(base, kind))
        current = getattr(base, f"{kind}_settings") if name == getattr(base, kind) else {}
        options += _setting_options(kind, str(name), current)
    return options


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


class Whole(SettingType):
    """A whole number, also as 32.0, which is how tuning services write it."""

    def __init__(self, name: str) -> None:
        super().__init__(Hyperparameter(name, "int", 0, (), (), ""))


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
