"""A launch as the exact requests of Vertex AI: JSON of its REST API, made without the SDK. It sends nothing."""

from collections.abc import Mapping, Sequence

from jaxbandit.data.download import ELSEWHERE
from jaxbandit.experiments.programs import PROGRAMS
from jaxbandit.vertex import data_sets
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.rules import disk_of, duration, waiting
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
        "labels": {**cloud.label, **labels},
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
        "labels": {**cloud.label, **labels},
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
        # A crash would repeat, and be paid for each time; a broken machine is what `resume --again` is for.
        "disableRetries": cloud.scheduling != "spot" and not cloud.is_multihost,
    }
    if cloud.max_wait:
        scheduling["maxWaitDuration"] = f"{waiting(cloud.max_wait)}s"
    spec: dict[str, Json] = {
        "workerPoolSpecs": _pools(
            cloud, [*args, *(["--distributed"] if cloud.is_multihost else [])], labels, variables
        ),
        "scheduling": scheduling,
        "baseOutputDirectory": {"outputUriPrefix": output},
    }
    optional: dict[str, Json] = {
        "serviceAccount": cloud.service_account,
        "network": cloud.vpc_network,
        "tensorboard": tensorboard,
        "persistentResourceId": cloud.persistent_resource,
        "enableWebAccess": cloud.enable_web_access,
    }
    return spec | {name: value for name, value in optional.items() if value}


def _pools(
    cloud: Cloud, args: Sequence[str], labels: Mapping[str, str], variables: Mapping[str, str]
) -> list[dict[str, Json]]:
    """One chief and its workers; a TPU slice is one replica, however many hosts it has."""
    machine = cloud.chosen_machine
    env = {**cloud.set_env, "JAX_PLATFORMS": machine.platform, ELSEWHERE: data_sets.place(cloud.bucket), **variables}
    if machine.platform != "cpu":  # what is compiled for a CPU need not run on the next one
        env[PROGRAMS] = f"{cloud.bucket.rstrip('/')}/_programs"
    if cloud.experiment:
        env |= {
            EXPERIMENT: cloud.experiment,
            experiments.RUN: _title(labels),
            experiments.REGION: cloud.region,
        }
    pool: dict[str, Json] = {
        "machineSpec": machine.spec | _affinity(cloud),
        "containerSpec": {
            "imageUri": cloud.image,
            "args": list(args),
            "env": [{"name": name, "value": value} for name, value in env.items()],
        },
    }
    kind, size = disk_of(cloud)
    if kind or cloud.disk:
        pool["diskSpec"] = {"bootDiskSizeGb": size} | ({"bootDiskType": kind} if kind else {})
    counts = [1, cloud.replicas - 1] if cloud.replicas > 1 else [1]
    return [pool | {"replicaCount": count} for count in counts]


def _affinity(cloud: Cloud) -> dict[str, Json]:
    """Whose machines are taken, if they are reserved."""
    if not cloud.reservation:
        return {}
    key = "compute.googleapis.com/reservation-name"
    affinity = {"reservationAffinityType": "SPECIFIC_RESERVATION", "key": key, "values": [cloud.reservation]}
    return {"reservationAffinity": affinity}


def quota(cloud: Cloud, parallel: int) -> dict[str, int]:
    """Quota metrics that so many jobs side by side draw on, and how much of each they need."""
    if cloud.persistent_resource or cloud.reservation:
        return {}  # their machines are counted already
    needed = cloud.chosen_machine.quota(cloud.is_preemptible)
    return {metric: amount * cloud.replicas * parallel for metric, amount in needed.items()}


def most_hours(cloud: Cloud, runs: int) -> float:
    """Hours of machines that so many runs may take, up to their timeout."""
    return duration("timeout", cloud.timeout) / 3600 * cloud.replicas * runs
