"""From what is asked to a checked launch, and what it needs: requests, quota, cost. It speaks to no service."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxbandit._core.errors import InputError
from jaxbandit.vertex import command_line, requests, state
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.launch import request
from jaxbandit.vertex.state import Launch, kind_of
from jaxbandit.vertex.study import Study, checked, read_parameters


def training(args: Sequence[str], cloud: Cloud, name: str | None = None) -> Launch:
    """Prepare one training; `args` are flags of `jaxbandit run`.

    Raises:
        InputError: the trainer would refuse them, or there is such a launch.
    """
    return _named(Launch("", "train", command_line.checked("run", args, in_cloud=True), cloud), name)


def sweeping(args: Sequence[str], cloud: Cloud, name: str | None = None) -> Launch:
    """Prepare one sweep; `args` are flags of `jaxbandit sweep`.

    Raises:
        InputError: the trainer would refuse them, or there is such a launch.
    """
    return _named(Launch("", "sweep", command_line.checked("sweep", args, in_cloud=True), cloud), name)


def tuning(
    args: Sequence[str],
    cloud: Cloud | None,
    *,
    tune: Sequence[str],
    final: Sequence[str] | None = None,
    name: str | None = None,
    **study: Any,
) -> Launch:
    """Prepare a study of some flags of `jaxbandit run`, in the cloud or, without one, on this machine.

    `tune` holds texts such as `alpha=double:log:0.01:30`; `final` NAME=VALUE flags of the training with the best
    values, None for no such training; `study` the other fields of a Study.

    Raises:
        InputError: a value is not allowed, the trainer would refuse the flags or a combination of tuned values, or
            there is such a launch.
    """
    search = checked(Study(parameters=read_parameters(tune), **study))
    base = command_line.checked("run", args, in_cloud=cloud is not None)
    last = None if final is None else command_line.named_values(final)
    command_line.check_tuned(base, search, last, in_cloud=cloud is not None)
    return _named(Launch("", "hpt", base, cloud, search, last), name)


def then_train(launch: Launch, final: Sequence[str], cloud: Cloud | None) -> Launch:
    """Add a training with the best values to a study, in another cloud part if one is given.

    Raises:
        InputError: there is one already, or the trainer would refuse the flags.
    """
    if "final" in launch.jobs:
        raise InputError(f"{str(launch.directory)!r} has a final training already; allowed: another launch for another")
    last = command_line.named_values(final)
    if launch.study is not None:
        command_line.check_tuned(launch.args, launch.study, last, in_cloud=launch.cloud is not None)
    launch = replace(launch, final=last, final_cloud=cloud)
    launch.save()
    return launch


def _named(launch: Launch, name: str | None) -> Launch:
    launch = state.named(launch, name)
    for stage in launch.stages:
        request(launch, stage)
    return launch


def dry_run(launch: Launch) -> str:
    """Write the exact requests as JSON: where each is posted, and its body."""
    posts = []
    for stage in launch.stages:
        cloud = launch.cloud_of(stage) or Cloud()
        board = cloud.tensorboard
        if board and not board.startswith("projects/"):
            board = f"{cloud.parent}/tensorboards/ID-OF-{board}"
        host = f"https://{cloud.region}-aiplatform.googleapis.com/v1"
        posts.append({"post": f"{host}/{cloud.parent}/{kind_of(stage)}", "body": request(launch, stage, board)})
    return json.dumps(posts, indent=2)


def needs(launch: Launch) -> list[str]:
    """Say what is left of a launch needs: machines, quota, waves of trials, at most how many hours and dollars."""
    lines, dollars, price_known = [], 0.0, True
    for stage in (stage for stage in launch.stages if stage not in launch.jobs):
        cloud = launch.cloud_of(stage) or Cloud()
        study = launch.study if stage == "hptuning" else None
        runs, parallel = (study.trials, study.parallel) if study else (1, 1)
        metric, amount = requests.quota(cloud, parallel)
        lines.append(f"{stage}: {cloud.replicas * parallel} x {cloud.chosen_machine.words} at a time")
        lines.append(f"  quota: {amount} of {metric} in {cloud.region}")
        if study:
            lines.append(
                f"  {study.trials} trials, {study.parallel} at a time: {study.waves} waves of at most {cloud.timeout}"
            )
        most = requests.most_hours(cloud, runs)
        lines.append(f"  at most {most:,.1f} machine hours: {runs} x {cloud.replicas} x the timeout of {cloud.timeout}")
        price_known = price_known and cloud.price is not None
        dollars += most * (cloud.price or 0.0)
    lines.append(f"at most {dollars:,.2f} US dollars" if price_known else "cost: --price PER-HOUR gives an upper bound")
    if launch.study and launch.study.algorithm == "bayesian" and launch.study.parallel > launch.study.trials / 2:
        lines.append(
            f"warning: {launch.study.parallel} of {launch.study.trials} trials at a time leave the search little to "
            "learn from; fewer --parallel find better values"
        )
    if launch.study and launch.study.algorithm == "grid" and launch.study.grid_points > launch.study.trials:
        lines.append(f"warning: of the {launch.study.grid_points:,} points of the grid {launch.study.trials} are tried")
    return lines
