"""Commands whose flags depend on what their arguments name, and the configs that they choose. It runs nothing.

JAX and what imports it wait until such a command is called: `jaxbandit --help` needs none of it.
"""

from typing import TYPE_CHECKING, Any

import click

from jaxbandit._core.signals import Interrupted, stop_requests

if TYPE_CHECKING:
    from jaxbandit.experiments.config import Config
    from jaxbandit.experiments.sweep_config import SweepConfig

SWEPT = ("agent", "grid", "sample", "num_configs", "sampler", "metric", "halving")  # flags that define a sweep


class SettingsCommand(click.Command):
    """`jaxbandit run`, `sweep` or `evaluate`: a command with a flag for each setting of the agent that it names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make the flags that the arguments call for, then parse."""
        with stop_requests() as stop:  # an extension that is being loaded may lose what a handler raises, or crash
            from jaxbandit.cli import flags, options
            from jaxbandit.experiments import sweep  # noqa: F401
        if stop.is_set():
            raise Interrupted("interrupted")
        ctx.obj, self.params = flags.flags_of(self.name or "", args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise options.no_such_flag(error.option_name, self.name or "run", self.params) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the flags under headings."""
        from jaxbandit.cli.options import write_help

        write_help(self.get_params(ctx), ctx, formatter)


def chosen_config(ctx: click.Context) -> "Config":
    """Put the flags that were given over the config that they are for."""
    from jaxbandit.experiments import config

    return config.changed(ctx.obj, _given(ctx))


def chosen_sweep_config(ctx: click.Context) -> "SweepConfig":
    """Make the config that the flags of a sweep describe; where they only say to resume one, that of its directory.

    Raises:
        InputError: nothing is swept, or bad values.
    """
    from dataclasses import replace

    from jaxbandit.cli.base_config import kept_sweep_config
    from jaxbandit.cli.options import named_values
    from jaxbandit.experiments import config, sweep_config

    given = _given(ctx)
    swept = {name: value for name in SWEPT if (value := given.pop(name, ())) != ()}
    if given["resume"] and "out" in given and not swept:
        kept = kept_sweep_config(given["out"])
        return replace(kept, base=config.checked(config.changed(kept.base, given)))
    agents = swept.pop("agent", ctx.obj.agent).split(",")
    grid, sample = (named_values(name, swept.pop(name, ())) for name in ("grid", "sample"))
    halving = swept.pop("halving", None)
    return sweep_config.make_sweep_config(ctx.obj, given, agents, grid=grid, sample=sample, eta=halving, **swept)


def _given(ctx: click.Context) -> dict[str, Any]:
    return {name: value for name, value in ctx.params.items() if value is not None and name != "config"}
