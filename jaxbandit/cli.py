"""argv -> config -> experiment. Flags of agents and environments are read off the signatures of their factories."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import click

from jaxbandit.errors import InputError, unknown
from jaxbandit.hyperparameters import Hyperparameter, hyperparameters, parse


class SettingType(click.ParamType):
    """A value of one hyperparameter, checked against its bounds."""

    def __init__(self, setting: Hyperparameter) -> None:
        self.setting = setting
        self.name = {"choice": "|".join(setting.choices), "ints": "n,n,…", "bool": "true|false"}.get(
            setting.kind, setting.kind
        )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn text into the setting's kind."""
        return parse(self.setting, None if value == "auto" and self.setting.default is None else value)


class Whole(click.ParamType):
    """A whole number, also as 32.0, which is how tuning services write it."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn text into a whole number."""
        return parse(Hyperparameter(str(param and param.name), "int", 0, (), (), ""), value)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: exit status 0, 2 for bad input, 130 when interrupted."""
    from jaxbandit.experiment import Interrupted
    from jaxbandit.reporting import print_error

    try:
        status = cli.main(args=argv, prog_name="jaxbandit", standalone_mode=False)
    except (InputError, Interrupted) as error:
        print_error(str(error))
        status = 2 if isinstance(error, InputError) else 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        status = 2
    except click.ClickException as error:
        print_error(error.format_message())
        status = 2
    except (click.Abort, KeyboardInterrupt):
        print_error("interrupted")
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="jaxbandit")
def cli() -> None:
    """Contextual-bandit simulation in one compiled JAX program: ratings in, learning curves out."""


class RunCommand(click.Command):
    """A command whose flags depend on the agent and the environment that its arguments name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Add the flags of the chosen agent and environment, then parse."""
        from jaxbandit.agents import AGENTS
        from jaxbandit.envs import ENVIRONMENTS
        from jaxbandit.experiment import Config, read_config

        path = _peek(args, "--config", None)
        base = read_config(path) if path else Config()
        chosen = {
            "agent": (_peek(args, "--agent", base.agent), AGENTS),
            "env": (_peek(args, "--env", base.env), ENVIRONMENTS),
        }
        self.params = [param for param in self.params if not isinstance(param, SettingOption)]
        for kind, (name, registry) in chosen.items():
            if name not in registry:
                raise unknown(kind, str(name), registry)
            settings = hyperparameters(registry[name])
            self.params += [SettingOption(kind, str(name), setting) for setting in settings.values()]
        ctx.obj = base
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the flags of the run, of the environment and of the agent apart."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            title = f"{param.kind} {param.owner}" if isinstance(param, SettingOption) else "Options"
            if record:
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


class SettingOption(click.Option):
    """The flag of one setting of an agent or an environment."""

    def __init__(self, kind: str, owner: str, setting: Hyperparameter) -> None:
        shown = {None: "auto", True: "true", False: "false"}.get(setting.default, setting.default)
        shown = ",".join(map(str, shown)) if isinstance(shown, tuple) else shown
        super().__init__(
            [f"--{setting.name.replace('_', '-')}", f"{kind}__{setting.name}"],
            type=SettingType(setting),
            metavar=SettingType(setting).name,
            help=f"{setting.doc}  [default: {shown}]",
        )
        self.kind, self.owner = kind, owner


def _peek(args: Sequence[str], flag: str, default: str | None) -> str | None:
    """Value of a flag before the arguments are parsed; the last one counts, as it does there."""
    found = default
    for i, arg in enumerate(args):
        if arg.startswith(f"{flag}="):
            found = arg.partition("=")[2]
        elif arg == flag and i + 1 < len(args):
            found = args[i + 1]
    return found


def _config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Flags of the fields of a Config."""
    options = [
        click.option("--agent", metavar="NAME", help="agent; `jaxbandit list agents`  [default: linucb]"),
        click.option("--env", metavar="NAME", help="environment; `jaxbandit list envs`  [default: mf-per-arm]"),
        click.option("--ratings", metavar="NAME|PATH", help="data set or file  [default: synth-100k]"),
        click.option("--user-column", metavar="NAME", help="column of user ids in a file of your own"),
        click.option("--item-column", metavar="NAME", help="column of item ids"),
        click.option("--rating-column", metavar="NAME", help="column of ratings"),
        click.option("--batch-size", type=Whole(), help="users served between two updates  [default: 128]"),
        click.option(
            "--training-loops", type=Whole(), help="rounds are training-loops × steps-per-loop  [default: 200]"
        ),
        click.option("--steps-per-loop", type=Whole(), help="rounds of a loop  [default: 10]"),
        click.option("--seeds", type=Whole(), help="simulations side by side  [default: 8]"),
        click.option("--seed", type=Whole(), help="root of all random numbers  [default: 0]"),
        click.option("--config", metavar="FILE", help="repeat a run: its config.json; other flags win"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(cls=RunCommand)
@_config_options
@click.option("--checkpoint-every", type=Whole(), help="loops between checkpoints  [default: a fifth of the loops]")
@click.option("--out", metavar="DIR", help="output directory, gs:// too  [default: runs/AGENT-ENV-TIME]")
@click.option("--resume", is_flag=True, help="go on with the interrupted run in --out")
@click.pass_context
def run(ctx: click.Context, out: str | None, resume: bool, checkpoint_every: int | None, **flags: Any) -> None:
    """Simulate an agent against thousands of users: learning curves, a table, a picture."""
    from jaxbandit import experiment, reporting

    if resume and out is None:
        raise InputError("resume: --out is missing; allowed: the --out of an interrupted run")
    config = _config(ctx.obj, flags)
    out = out or f"runs/{config.agent}-{config.env}-{time.strftime('%Y%m%d-%H%M%S')}"
    summary = experiment.run(config, out, resume=resume, checkpoint_every=checkpoint_every)
    reporting.print_table(summary, agent=config.agent, directory=out)


def _config(base: Any, flags: dict[str, Any]) -> Any:
    """Put the given flags over a base config; settings of another agent or environment are dropped with it."""
    from jaxbandit.experiment import Config

    given = {name: value for name, value in flags.items() if value is not None}
    plain = {f.name: given.get(f.name, getattr(base, f.name)) for f in fields(Config)}
    for kind in ("env", "agent"):
        kept = getattr(base, f"{kind}_settings") if plain[kind] == getattr(base, kind) else {}
        new = {name.removeprefix(f"{kind}__"): v for name, v in given.items() if name.startswith(f"{kind}__")}
        plain[f"{kind}_settings"] = {**kept, **new}
    return Config(**plain)


@cli.command("list")
@click.argument("what", metavar="agents|envs|data")
def list_command(what: str) -> None:
    """List agents, environments or data sets."""
    from jaxbandit import reporting
    from jaxbandit.agents import AGENTS
    from jaxbandit.envs import ENVIRONMENTS

    registries: dict[str, Any] = {"agents": AGENTS, "envs": ENVIRONMENTS}
    if what == "data":
        data_list()
    elif what in registries:
        rows = [
            (n, (f.__doc__ or "").splitlines()[0], ", ".join(hyperparameters(f))) for n, f in registries[what].items()
        ]
        reporting.print_list(rows, headings=("name", "what it does", "settings"))
    else:
        raise unknown("list", what, (*registries, "data"))


@cli.group()
def data() -> None:
    """List, fetch and describe ratings."""


@data.command("list")
def data_list_command() -> None:
    """List the data sets that have names."""
    data_list()


def data_list() -> None:
    """Print the registered data sets."""
    from jaxbandit import reporting
    from jaxbandit.data import DATASETS

    rows = [(n, f"{d.users:,}", f"{d.items:,}", f"{d.ratings:,}", d.source, d.description) for n, d in DATASETS.items()]
    reporting.print_list(rows, headings=("name", "users", "items", "ratings", "source", "description"))


@data.command("fetch")
@click.argument("name")
def data_fetch(name: str) -> None:
    """Download a MovieLens data set into the cache; its licence is between you and GroupLens."""
    from jaxbandit.data import fetch

    click.echo(fetch(name))


@data.command("describe")
@click.argument("name_or_path", metavar="NAME|PATH")
@click.option("--user-column", metavar="NAME")
@click.option("--item-column", metavar="NAME")
@click.option("--rating-column", metavar="NAME")
@click.option("--plot", metavar="FILE", help="draw star shares, popularity and activity into a PNG")
def data_describe(name_or_path: str, plot: str | None, **columns: str | None) -> None:
    """Say what is in a data set: counts, density, star shares, skew."""
    from jaxbandit import reporting
    from jaxbandit.data import describe, load
    from jaxbandit.data import plot as draw

    ratings = load(name_or_path, **columns)
    reporting.print_list(
        [(name, _shown(value)) for name, value in describe(ratings).items()], headings=("what", "value")
    )
    if plot:
        draw(ratings, plot)
        click.echo(f"picture in {plot}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
