"""From the flags of `jaxbandit launch` to a checked Launch, before it costs anything. It speaks to no service."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import click

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit.cli.base_config import read_some
from jaxbandit.cli.command_line import SettingsCommand, chosen_config, chosen_sweep_config
from jaxbandit.cli.options import named_values
from jaxbandit.data import DATASETS, SHIPPED
from jaxbandit.experiments import config
from jaxbandit.experiments.config import Config, takes_ratings
from jaxbandit.experiments.search_space import dashed
from jaxbandit.vertex import state
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.state import Launch
from jaxbandit.vertex.study import Study, checked, read_parameters

LAUNCHERS = ("out", "resume", "distributed")  # flags that the launcher decides
BESIDE = ("checkpoint_every", "profile", "log_interactions", "propensity_samples")


def study(args: Sequence[str], given: Mapping[str, Any]) -> Study:
    """Make the study that the flags of `launch hpt` and `launch local` describe, of `jaxbandit run` with `args`.

    Raises:
        InputError: a value is not allowed.
    """
    names = ("metric", "algorithm", "trials", "parallel", "max_failed", "stop_early")
    (base,) = Trainer.read(("run", *args)).configs
    return checked(Study(read_parameters(given["tune"], base), **{name: given[name] for name in names}))


def training(args: Sequence[str], cloud: Cloud, name: str | None = None) -> Launch:
    """Prepare one training; `args` are flags of `jaxbandit run`.

    Raises:
        InputError: the trainer would refuse them, or there is such a launch.
    """
    return state.named(Launch("", "train", _checked("run", args, in_cloud=True), cloud), name)


def sweeping(args: Sequence[str], cloud: Cloud, name: str | None = None) -> Launch:
    """Prepare one sweep; `args` are flags of `jaxbandit sweep`.

    Raises:
        InputError: the trainer would refuse them, or there is such a launch.
    """
    return state.named(Launch("", "sweep", _checked("sweep", args, in_cloud=True), cloud), name)


def tuning(
    args: Sequence[str], cloud: Cloud | None, study: Study, final: Sequence[str] | None = None, name: str | None = None
) -> Launch:
    """Prepare a study of some flags of `jaxbandit run`, in the cloud or, without one, on this machine.

    `final` holds NAME=VALUE flags of the training with the best values, or is None for no such training.

    Raises:
        InputError: the trainer would refuse the flags or a combination of tuned values, or there is such a launch.
    """
    base = _checked("run", args, in_cloud=cloud is not None)
    last = None if final is None else _named_values(final)
    _check_tuned(base, study, last, in_cloud=cloud is not None)
    return state.named(Launch("", "hpt", base, cloud, study, _final(base, last)), name)


def then_train(launch: Launch, final: Sequence[str], cloud: Cloud | None) -> Launch:
    """Add a training with the best values to a study, on other machines if a cloud part is given.

    Raises:
        InputError: there is one already, or the trainer would refuse the flags.
    """
    if "final" in launch.jobs:
        raise InputError(f"{str(launch.directory)!r} has a final training already; allowed: another launch for another")
    last = _named_values(final)
    if launch.study is not None:
        _check_tuned(launch.args, launch.study, last, in_cloud=launch.cloud is not None)
    launch = replace(launch, final=_final(launch.args, last), final_cloud=cloud)
    launch.save()
    return launch


class Trainer(NamedTuple):
    """What a command line of `jaxbandit run` or `sweep` says."""

    configs: list[Config]  # the config, or all of a sweep
    launchers: list[str]  # flags given that the launcher decides
    beside: list[str]  # flags given that are no part of a config

    @classmethod
    def read(cls, args: Sequence[str]) -> "Trainer":
        """Read the arguments of `jaxbandit`.

        Raises:
            InputError, click.ClickException: what the trainer itself would refuse before it reads ratings.
        """
        command = args[0]
        with SettingsCommand(command).make_context(f"jaxbandit {command}", list(args[1:])) as ctx:
            launchers = [name for name in LAUNCHERS if ctx.params.get(name)]
            given = {name: ctx.params.get(name) for name in BESIDE}
            beside = [f"--{dashed(name)}={reporting.setting_text(value)}" for name, value in given.items() if value]
            configs = chosen_sweep_config(ctx).configs() if command == "sweep" else [config.checked(chosen_config(ctx))]
            return cls(configs, launchers, beside)


def _checked(command: str, args: Sequence[str], *, in_cloud: bool) -> tuple[str, ...]:
    """Return the trainer's command line, with the content of a --config in place of its path.

    Raises:
        InputError: the trainer would refuse it, or could not see a file there.
    """
    args = (command, *_without_config_file(args))
    chosen, *_ = _check(args, in_cloud)
    return args if in_cloud else (*args, *_from_root(args, chosen))


def _from_root(args: Sequence[str], chosen: Config) -> list[str]:
    """Flags with the paths of data from the root, where they were given otherwise: a launch is resumed anywhere."""
    given = read_some(args, click.Option(["--ratings"]), click.Option(["--data"])).params
    paths = {"ratings": chosen.ratings, "data": chosen.env_settings.get("data")}
    relative = (name for name, path in paths.items() if given[name] not in (None, path))
    return [f"--{name}={paths[name]}" for name in relative if str(paths[name]).startswith("/")]


def _check(args: Sequence[str], in_cloud: bool) -> list[Config]:
    trainer = Trainer.read(args)
    if trainer.launchers:
        raise InputError(
            f"{trainer.launchers[0]} is given, which the launcher decides; allowed: other flags of {args[0]}"
        )
    for chosen in trainer.configs:
        _check_sizes(chosen)
        if in_cloud:
            _check_files(chosen)
    return trainer.configs


def _check_tuned(args: Sequence[str], study: Study, final: Sequence[str] | None, *, in_cloud: bool) -> None:
    """Raise InputError where the trainer would refuse extreme values together, also with flags of a final training."""
    for corner in study.corners():
        tuned = [f"--{name}={value}" for name, value in corner.items()]
        for what, more in [("tune", ()), *([("final", final)] if final else [])]:
            try:
                _check([*args, *tuned, *more], in_cloud)
            except InputError as error:
                raise InputError(f"{what}: with {' '.join((*tuned, *more))} the trainer says: {error}") from None


def _final(args: Sequence[str], final: Sequence[str] | None) -> tuple[str, ...] | None:
    """Flags of a final training: what the study's have beside a config, which result.json lacks, and its own."""
    return None if final is None else (*Trainer.read(args).beside, *final)


def _named_values(texts: Iterable[str]) -> tuple[str, ...]:
    """Flags of NAME=VALUE texts.

    Raises:
        InputError: one has no = or no value.
    """
    return tuple(f"--{name}={value}" for name, value in named_values("final", list(texts)).items())


def _without_config_file(args: Sequence[str]) -> list[str]:
    """Put flags and values in place of --config FILE, which lies on this machine alone."""
    given = read_some(args, click.Option(["--config"]))
    path = given.params["config"]
    if path is None or path.startswith("gs://"):
        return list(args)
    values = config.flag_values(config.read_config(path))
    return [*(f"--{name}={reporting.setting_text(value)}" for name, value in values.items()), *given.args]


def _check_sizes(chosen: Config) -> None:
    """Raise InputError where a data set with a name has fewer items or users than are asked for at a time."""
    data = DATASETS.get(chosen.ratings) if takes_ratings(chosen.env) else None
    if data is None:
        return
    arms, batch = chosen.env_settings.get("num_actions"), chosen.batch_size
    if isinstance(arms, int) and arms > data.items:
        raise InputError(f"num_actions is {arms}, and {chosen.ratings} has {data.items:,} items; allowed: at most that")
    if chosen.env == "mf" and batch > data.users:  # where the users of a batch are distinct
        raise InputError(f"batch_size is {batch}, and {chosen.ratings} has {data.users:,} users; allowed: at most that")


def _check_files(chosen: Config) -> None:
    """Raise InputError where the container would look for data that are on this machine alone."""
    made = [name for name, data in DATASETS.items() if data.source == "generated"]
    fetched = [name for name, data in DATASETS.items() if data.downloadable]  # which the launcher puts into the bucket
    files = {"ratings": (chosen.ratings, made + fetched)} if takes_ratings(chosen.env) else {}
    if "data" in chosen.env_settings:
        files["data"] = (str(chosen.env_settings["data"]), list(SHIPPED))
    for name, (path, there) in files.items():
        if path not in there and not path.startswith("gs://"):
            raise InputError(
                f"{name} is {path!r}, which the container does not have; allowed: gs://BUCKET/PATH (copy it there), "
                f"or one of {', '.join(there)}"
            )
