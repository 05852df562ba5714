"""Kinds of flags and of their values, their help, and the error for an unknown one. No command is named here."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
from annotated_types import Ge, Le

from jaxbandit._core.errors import InputError, nearest
from jaxbandit._core.hyperparameters import Hyperparameter, Value, parse
from jaxbandit.cli.reading import READING_HELP
from jaxbandit.data.validation import DUPLICATES

if TYPE_CHECKING:
    from click.parser import _OptionParser, _ParsingState

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
    """Values of one setting, checked against its kind and bounds."""

    def __init__(self, setting: Hyperparameter) -> None:
        self.setting = setting
        self.name = "|".join(setting.choices) or PLACEHOLDERS[setting.kind]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Value:
        """Turn text into the setting's kind."""
        return parse(self.setting, None if value == "auto" and self.setting.default is None else value)


class Eta(click.ParamType):
    """The factor of successive halving, as eta=3 or 3."""

    name = "eta=n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Value:
        """Read the number."""
        return parse(Hyperparameter("halving", "int", default=None, bounds=(Ge(2),)), str(value).removeprefix("eta="))


def whole(name: str, least: int | None = None, most: int | None = None) -> SettingType:
    """Whole numbers, also as 32.0, which is how tuning services write them."""
    bounds = (*(() if least is None else (Ge(least),)), *(() if most is None else (Le(most),)))
    return SettingType(Hyperparameter(name, "int", default=0, bounds=bounds))


def choice(name: str, choices: Sequence[str]) -> SettingType:
    """One of a few words."""
    return SettingType(Hyperparameter(name, "choice", default=choices[0], choices=tuple(choices)))


class Flag(click.Option):
    """A flag with a value, and the heading of the help under which it stands."""

    def __init__(
        self, title: str, name: str, kind: click.ParamType, words: str, default: Value = None, *, prefix: str = ""
    ) -> None:
        shown = "" if default is None and not isinstance(kind, SettingType) else f"  [default: {_shown(default)}]"
        metavar = "NAME" if kind.name == "text" else kind.name
        super().__init__([_flag(name), f"{prefix}{name}"], type=kind, metavar=metavar, help=words + shown)
        self.title = title


class Switch(click.Option):
    """A flag whose value may be left out: --resume is --resume=true, which tuning services write."""

    def __init__(self, name: str, words: str = "", *, default: bool | None = False) -> None:
        kind = SettingType(Hyperparameter(name, "bool", default=False))
        super().__init__(
            [_flag(name), name], type=kind, is_flag=False, flag_value="true", default=default, metavar="", help=words
        )


class Repeated(click.Option):
    """A flag that may be given several times, and takes several values: `--grid a=1 b=2` is `--grid a=1 --grid b=2`."""

    def __init__(self, title: str, name: str, shape: str, words: str) -> None:
        super().__init__([_flag(name)], multiple=True, metavar=shape, help=words)
        self.title = title

    def add_to_parser(self, parser: "_OptionParser", ctx: click.Context) -> None:
        """Let the parser take what follows the first value too, which click has no setting for."""
        super().add_to_parser(parser, ctx)
        option = parser._long_opt[self.opts[0]]
        process_one = option.process

        def process(value: str, state: "_ParsingState") -> None:
            process_one(value, state)
            while state.rargs and "=" in state.rargs[0] and not state.rargs[0].startswith("-"):
                process_one(state.rargs.pop(0), state)

        option.process = process  # type: ignore[method-assign]


def reading_flag(name: str, default: Value = None) -> click.Option:
    """Make a flag for how a file of ratings is read, of READING_HELP."""
    if name == "implicit":
        return Switch(name, READING_HELP[name], default=None)
    kind = choice(name, DUPLICATES) if name == "duplicates" else click.STRING
    return Flag("run", name, kind, READING_HELP[name], default)


def named_values(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUES texts.

    Raises:
        InputError: there is no =, nothing after it, or a name twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise InputError(f"{flag} is {text!r}; allowed: NAME=VALUES, as alpha=0.1,1,10")
        if _dashed(name) in values:
            raise InputError(f"{flag} has {name} twice; allowed: once")
        values[_dashed(name)] = value
    return values


def no_such_flag(flag: str, command: str, params: Sequence[click.Parameter]) -> InputError:
    """Build the error for a flag that neither the command nor the chosen agent and environment have."""
    known = {title: [param.opts[0] for param in group] for title, group in _grouped(params).items()}
    near = nearest(flag, sorted(name for names in known.values() for name in names))
    hint = f"did you mean {near!r}? " if near else ""
    settings = (f"{title} has {' '.join(names)}" for title, names in known.items() if title not in ("run", command))
    return InputError(
        f"unknown flag {flag!r}: {hint}allowed: those of `jaxbandit {command} --help`; {'; '.join(settings)}"
    )


def write_help(params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Show the flags of the command, of the environment and of the agent apart."""
    for title, group in _grouped(params).items():
        records = [record for param in group if (record := param.get_help_record(ctx))]
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _grouped(params: Sequence[click.Parameter]) -> Mapping[str, list[click.Parameter]]:
    groups: dict[str, list[click.Parameter]] = {}
    for param in params:
        groups.setdefault(getattr(param, "title", "run"), []).append(param)
    return groups


def _flag(name: str) -> str:
    return f"--{_dashed(name)}"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _shown(default: Value) -> str:
    if default is None:
        return "auto"
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, tuple | list) else str(default)
