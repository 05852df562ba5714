"""The config that the flags of a command are put over, read before all of them are known. It checks no flags."""

from collections.abc import Sequence

import click

from jaxbandit._core.errors import InputError
from jaxbandit.cli.options import Switch
from jaxbandit.experiments.config import Config, checked, read_config, read_entries, read_object
from jaxbandit.experiments.run_directory import config_file
from jaxbandit.experiments.sweep_config import SweepConfig, read_sweep_config


def read_some(args: Sequence[str], *options: click.Option) -> click.Context:
    """Read a few flags, whatever else there is: `params` has their values, `args` the other arguments."""
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    command = click.Command("", params=list(options), context_settings=settings, add_help_option=False)
    return command.make_context("", list(args), resilient_parsing=True)


def of_run(args: Sequence[str]) -> Config:
    """Read the config of --config, or of the run or sweep in --out that is to be resumed.

    Raises:
        InputError: there is none that can be read.
    """
    given = read_some(args, click.Option(["--config"]), click.Option(["--out"]), Switch("resume")).params
    if given["config"] is not None:
        return read_config(given["config"])
    path = config_file(given["out"]) if given["resume"] and given["out"] is not None else None
    if path is None:
        return Config()
    content = read_object(path, kept=True)
    return read_sweep_config(content).base if "base" in content else checked(read_entries(content))


def of_policy(args: Sequence[str]) -> Config:
    """Read the config of --policy-from, or of --config.

    Raises:
        InputError: both are given, or there is none that can be read.
    """
    given = read_some(args, click.Option(["--policy-from"]), click.Option(["--config"])).params
    run, path = given["policy_from"], given["config"]
    if run is not None and path is not None:
        raise InputError("policy_from and config are both given; allowed: one of them")
    if run is not None:
        path = config_file(run)
        if path is None:
            raise InputError(f"policy_from is {run!r}, which holds no run; allowed: the --out of a run")
    return Config() if path is None else read_config(str(path), kept=run is not None)


def kept_sweep_config(out: str) -> SweepConfig:
    """Read the config of the sweep in a directory.

    Raises:
        InputError: there is none.
    """
    path = config_file(out)
    content = read_object(path, kept=True) if path is not None else {}
    if "base" not in content:
        raise InputError(f"resume: {out!r} holds no sweep; allowed: the --out of an interrupted sweep")
    return read_sweep_config(content)
