"""What a launch would send, and what it needs: requests, quota, hours, cost. It speaks to no service."""

import json

from jaxbandit.vertex import requests
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.cloud_runner import request
from jaxbandit.vertex.state import Launch, kind_of
from jaxbandit.vertex.study import Study


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
        hours = requests.most_hours(cloud, study.trials if study else 1)
        lines += _stage_needs(stage, cloud, study, hours)
        price_known = price_known and cloud.price is not None
        dollars += hours * (cloud.price or 0.0)
    lines.append(f"at most {dollars:,.2f} US dollars" if price_known else "cost: --price PER-HOUR gives an upper bound")
    return lines + (_warnings(launch.study) if launch.study else [])


def _stage_needs(stage: str, cloud: Cloud, study: Study | None, hours: float) -> list[str]:
    runs, parallel = (study.trials, study.parallel) if study else (1, 1)
    needed = requests.quota(cloud, parallel)
    waves = f"  {runs} trials, {parallel} at a time: {study.waves} waves of at most {cloud.timeout}" if study else ""
    return [
        f"{stage}: {cloud.replicas * parallel} x {cloud.chosen_machine.words} at a time",
        *(f"  quota: {amount} of {metric} in {cloud.region}" for metric, amount in needed.items()),
        *([waves] if waves else []),
        f"  at most {hours:,.1f} machine hours: {runs} x {cloud.replicas} x the timeout of {cloud.timeout}",
    ]


def _warnings(study: Study) -> list[str]:
    if study.algorithm == "bayesian" and study.parallel > study.trials / 2:
        return [
            f"warning: {study.parallel} of {study.trials} trials at a time leave the search little to learn from; "
            "fewer --parallel find better values"
        ]
    if study.algorithm == "grid" and study.grid_points > study.trials:
        return [f"warning: of the {study.grid_points:,} points of the grid {study.trials} are tried"]
    return []
