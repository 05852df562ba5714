"""The trainer's command line as a launcher sees it: the same as on a laptop, checked here before it is paid for."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit.cli import flags
from jaxbandit.cli.command_line import RunCommand, SweepCommand, chosen_config, chosen_plan
from jaxbandit.data import DATASETS, SHIPPED
from jaxbandit.experiments import config, sweep
from jaxbandit.experiments.config import Config, takes_ratings
from jaxbandit.experiments.search_space import dashed
from jaxbandit.experiments.sweep_config import Plan
from jaxbandit.vertex.study import Study

COMMANDS = {"run": RunCommand, "sweep": SweepCommand}
LAUNCHERS = ("out", "resume", "distributed")  # flags that the launcher decides
BESIDE = ("checkpoint_every", "profile", "log_interactions", "propensity_samples")


class Trainer(NamedTuple):
    """What a command line of `jaxbandit run` or `sweep` chooses."""

    chosen: Config | Plan
    configs: list[Config]  # the config, or all of a sweep
    own: list[str]  # flags given that the launcher decides
    beside: list[str]  # flags given that are no part of a config

    @classmethod
    def read(cls, args: Sequence[str]) -> "Trainer":
        """Read the arguments of `jaxbandit`.

        Raises:
            InputError, click.ClickException: what the trainer itself would refuse before it reads ratings.
        """
        command = args[0]
        with COMMANDS[command](command).make_context(f"jaxbandit {command}", list(args[1:])) as ctx:
            own = [name for name in LAUNCHERS if ctx.params.get(name)]
            given = {name: ctx.params.get(name) for name in BESIDE}
            beside = [f"--{dashed(name)}={reporting.setting_text(value)}" for name, value in given.items() if value]
            if command == "run":
                chosen = config.checked(chosen_config(ctx))
                return cls(chosen, [chosen], own, beside)
            plan = chosen_plan(ctx)
            return cls(plan, plan.configs(), own, beside)

    @property
    def config(self) -> Config:
        """The config, of a sweep its base."""
        return self.chosen.base if isinstance(self.chosen, Plan) else self.chosen

    def show(self, directory: Path) -> None:
        """Print the table of its results."""
        summary = json.loads((directory / "summary.json").read_text())
        if isinstance(self.chosen, Plan):
            sweep.show(self.chosen, summary, str(directory))
        else:
            reporting.print_table(summary, agent=self.chosen.agent, directory=str(directory))


def checked(command: str, args: Sequence[str], *, in_cloud: bool) -> tuple[str, ...]:
    """Return the trainer's arguments, with the content of a --config in place of its path.

    Raises:
        InputError: the trainer would refuse them, or could not see a file there.
    """
    args = (command, *_spelled_out(args))
    _check(args, in_cloud)
    return args


def check_tuned(args: Sequence[str], study: Study, final: Sequence[str] | None, *, in_cloud: bool) -> None:
    """Raise InputError where the trainer would refuse extreme values together, also with flags of a final training."""
    for corner in study.corners():
        tuned = [f"--{name}={value}" for name, value in corner.items()]
        for what, more in [("tune", ()), *([("final", final)] if final else [])]:
            try:
                _check([*args, *tuned, *more], in_cloud)
            except InputError as error:
                raise InputError(f"{what}: with {' '.join((*tuned, *more))} the trainer says: {error}") from None


def _check(args: Sequence[str], in_cloud: bool) -> None:
    trainer = Trainer.read(args)
    if trainer.own:
        raise InputError(f"{trainer.own[0]} is given, which the launcher decides; allowed: other flags of {args[0]}")
    if in_cloud:
        for chosen in trainer.configs:
            _check_files(chosen)


def named_values(texts: Iterable[str]) -> tuple[str, ...]:
    """Flags of NAME=VALUE texts.

    Raises:
        InputError: one has no = or no value.
    """
    return tuple(f"--{name}={value}" for name, value in flags.axes("final", list(texts)).items())


def _spelled_out(args: Sequence[str]) -> list[str]:
    """Put flags and values in place of --config FILE, which lies on this machine alone."""
    path = flags.value_of(args, "--config")
    if path is None or path.startswith("gs://"):
        return list(args)
    rest, skip = [], False
    for arg in args:
        if not skip and arg != "--config" and not arg.startswith("--config="):
            rest.append(arg)
        skip = arg == "--config"
    values = config.flag_values(config.read_config(path))
    return [*(f"--{name}={reporting.setting_text(value)}" for name, value in values.items()), *rest]


def _check_files(chosen: Config) -> None:
    """Raise InputError where the container would look for data that are on this machine alone."""
    made = [name for name, data in DATASETS.items() if data.source == "generated"]
    files = {"ratings": (chosen.ratings, made)} if takes_ratings(chosen.env) else {}
    if "data" in chosen.env_settings:
        files["data"] = (chosen.env_settings["data"], list(SHIPPED))
    for name, (path, there) in files.items():
        if path not in there and not path.startswith("gs://"):
            raise InputError(
                f"{name} is {path!r}, which the container does not have; allowed: gs://BUCKET/PATH (copy it there), "
                f"or one of {', '.join(there)}"
            )
