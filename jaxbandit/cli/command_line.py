"""Commands whose flags depend on what their arguments name, and the Config or Plan they choose. They run nothing."""

from typing import Any

import click

from jaxbandit._core.signals import Interrupted, stop_requests


class RunCommand(click.Command):
    """A command whose flags depend on the agent and the environment that its arguments name."""

    def base_of(self, args: list[str]) -> Any:
        """Read the config that the flags are put over."""
        from jaxbandit.cli import flags

        return flags.base_config(args)

    def flags_of(self, args: list[str], base: Any) -> list[click.Parameter]:
        """Make the flags."""
        from jaxbandit.cli import flags

        return [*flags.run_options(args, base), *flags.log_options()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make the flags that the arguments call for, then parse."""
        with stop_requests() as stop:  # an extension that is being loaded may lose what a handler raises, or crash
            from jaxbandit.cli import flags
            from jaxbandit.experiments import sweep  # noqa: F401
        if stop.is_set():
            raise Interrupted("interrupted")
        ctx.obj = self.base_of(args)
        self.params = self.flags_of(args, ctx.obj)
        args = flags.bare(args, self.params)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise flags.no_such_flag(error.option_name, self.params) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the flags under headings."""
        from jaxbandit.cli import flags

        flags.write_help(self.get_params(ctx), ctx, formatter)


class SweepCommand(RunCommand):
    """The same, with the flags that say what is swept."""

    def flags_of(self, args: list[str], base: Any) -> list[click.Parameter]:
        """Make the flags."""
        from jaxbandit.cli import flags

        return flags.sweep_options(args, base)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let --grid and --sample take several values, then parse."""
        from jaxbandit.cli import flags

        return super().parse_args(ctx, flags.spread(args))


class EvaluateCommand(RunCommand):
    """A command whose flags depend on the agent alone."""

    def base_of(self, args: list[str]) -> Any:
        """Read the config that the flags are put over."""
        from jaxbandit.cli import flags

        return flags.policy_base(args)

    def flags_of(self, args: list[str], base: Any) -> list[click.Parameter]:
        """Make the flags."""
        from jaxbandit.cli import flags

        return flags.evaluate_options(args, base)


def chosen_config(ctx: click.Context) -> Any:
    """Put the flags that were given over the config that they are for."""
    from jaxbandit.experiments import config

    return config.changed(ctx.obj, _given(ctx))


def chosen_plan(ctx: click.Context) -> Any:
    """Make the plan that the flags of a sweep describe; of one that is to be resumed it may be the kept one.

    Raises:
        InputError: nothing is swept, or bad values.
    """
    from dataclasses import replace

    from jaxbandit.cli import flags
    from jaxbandit.experiments import config, sweep_config

    asked = _given(ctx)
    extras = {name: asked.pop(name) for name in ("num_configs", "sampler", "metric") if name in asked}
    grid, sample, agent, halving = (asked.pop(name, None) for name in ("grid", "sample", "agent", "halving"))
    out = asked.get("out")
    if out is not None and asked["resume"] and not (grid or sample or agent or halving or extras):
        kept = flags.kept_plan(out)
        return replace(kept, base=config.checked(config.changed(kept.base, asked)))
    axes: dict[str, Any] = {"grid": flags.axes("grid", grid or ()), "sample": flags.axes("sample", sample or ())}
    agents = (agent or ctx.obj.agent).split(",")
    return sweep_config.make_plan(ctx.obj, asked, agents, **axes, **extras, eta=halving)


def _given(ctx: click.Context) -> dict[str, Any]:
    return {name: value for name, value in ctx.params.items() if value is not None and name != "config"}
