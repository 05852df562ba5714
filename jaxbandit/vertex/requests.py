"""A launch as the exact requests of Vertex AI: JSON of its REST API, made without the SDK. It sends nothing."""

from collections.abc import Mapping, Sequence

from jaxbandit.vertex.cloud import Cloud, duration
from jaxbandit.vertex.study import Study
from jaxbandit.vertex.trainer import EXPERIMENT, experiments, metric_file
from jaxbandit.vertex.wire import Json

STRATEGIES = {"standard": "STANDARD", "spot": "SPOT", "flex-start": "FLEX_START"}
LABELS = ("jaxbandit-launch", "jaxbandit-id", "jaxbandit-stage")
CUSTOM, TUNING = "customJobs", "hyperparameterTuningJobs"


def custom_job(
    cloud: Cloud, args: Sequence[str], *, output: str, labels: Mapping[str, str], tensorboard: str = ""
) -> dict[str, Json]:
    """Make the CustomJob of one training or sweep.

    `output` is its gs:// directory, `args` the trainer's command line, `tensorboard` a resource name.
    """
    return {
        "displayName": _title(labels),
        "labels": dict(labels),
        "jobSpec": _job_spec(cloud, args, output, labels, {}, tensorboard),
    }


def tuning_job(
    cloud: Cloud,
    study: Study,
    args: Sequence[str],
    *,
    output: str,
    labels: Mapping[str, str],
    tensorboard: str = "",
) -> dict[str, Json]:
    """Make the HyperparameterTuningJob of a study; each trial gets the tuned flags after `args`."""
    variables = {metric_file.NAME: study.metric}
    return {
        "displayName": _title(labels),
        "labels": dict(labels),
        "studySpec": study.spec,
        "maxTrialCount": study.trials,
        "parallelTrialCount": study.parallel,
        "maxFailedTrialCount": study.most_failed,
        "trialJobSpec": _job_spec(cloud, args, output, labels, variables, tensorboard),
    }


def _title(labels: Mapping[str, str]) -> str:
    """Name of a job for people: that of its launch, and the stage."""
    name, _, stage = LABELS
    return f"{labels[name]}-{labels[stage]}"


def _job_spec(
    cloud: Cloud,
    args: Sequence[str],
    output: str,
    labels: Mapping[str, str],
    variables: Mapping[str, str],
    tensorboard: str,
) -> dict[str, Json]:
    scheduling: dict[str, Json] = {
        "timeout": f"{duration('timeout', cloud.timeout)}s",
        "strategy": STRATEGIES[cloud.scheduling],
        "restartJobOnWorkerRestart": cloud.is_multihost,  # else the new one would wait for the others for ever
    }
    if cloud.max_wait:
        scheduling["maxWaitDuration"] = f"{duration('max_wait', cloud.max_wait)}s"
    spec: dict[str, Json] = {
        "workerPoolSpecs": _pools(
            cloud, [*args, *(["--distributed"] if cloud.is_multihost else [])], labels, variables
        ),
        "scheduling": scheduling,
        "baseOutputDirectory": {"outputUriPrefix": output},
    }
    optional = {"serviceAccount": cloud.service_account, "network": cloud.vpc_network, "tensorboard": tensorboard}
    return spec | {name: value for name, value in optional.items() if value}


def _pools(
    cloud: Cloud, args: Sequence[str], labels: Mapping[str, str], variables: Mapping[str, str]
) -> list[dict[str, Json]]:
    """One chief and its workers; a TPU slice is one replica, however many hosts it has."""
    machine = cloud.chosen_machine
    env = {"JAX_PLATFORMS": machine.platform, **variables}
    if cloud.experiment:
        env |= {
            EXPERIMENT: cloud.experiment,
            experiments.RUN: _title(labels),
            experiments.REGION: cloud.region,
        }
    pool: dict[str, Json] = {
        "machineSpec": machine.spec,
        "containerSpec": {
            "imageUri": cloud.image,
            "args": list(args),
            "env": [{"name": name, "value": value} for name, value in env.items()],
        },
    }
    counts = [1, cloud.replicas - 1] if cloud.replicas > 1 else [1]
    return [pool | {"replicaCount": count} for count in counts]


def quota(cloud: Cloud, parallel: int) -> tuple[str, int]:
    """Quota metric that so many jobs side by side draw on, and how much of it they need."""
    metric, amount = cloud.chosen_machine.quota(cloud.scheduling == "spot")
    return metric, amount * cloud.replicas * parallel


def most_hours(cloud: Cloud, runs: int) -> float:
    """Hours of machines that so many runs may take, up to their timeout."""
    return duration("timeout", cloud.timeout) / 3600 * cloud.replicas * runs
