"""Requests as the tests of the server make them: jobs that run a few lines of Python."""

import time
from typing import Any

import psutil
from google.cloud import aiplatform_v1 as v1

from ..vertex_server import VertexServer

PARENT = f"projects/{VertexServer.project}/locations/{VertexServer.region}"
# Reports the tuned x (twice as much at first) as the trainer does.
REPORT = """
import json, os, pathlib, sys, time
flags = dict(arg[2:].split("=") for arg in sys.argv[1:])
path = pathlib.Path(os.environ["CLOUD_ML_HP_METRIC_FILE"])
path.parent.mkdir(parents=True)
for step, value in enumerate([2 * float(flags["x"]), float(flags["x"])]):
    line = {"timestamp": time.time(), "trial": os.environ["CLOUD_ML_TRIAL_ID"], "checkpoint_path": ""}
    line |= {"global_step": str(step), "score": str(value)}
    with path.open("a") as file: file.write(json.dumps(line) + "\\n")
"""


def options(server: VertexServer) -> dict[str, str]:
    return {"api_endpoint": server.variables["JAXBANDIT_VERTEX_ENDPOINT"]}


def pool(code: str, replicas: int = 1, **container: Any) -> dict[str, Any]:
    """A worker pool that runs a line of Python."""
    container = {"image_uri": "us-docker.pkg.dev/p/r/image:1", "command": ["python", "-c", code]} | container
    machine = {"machine_type": "n1-standard-4"}
    return {"machine_spec": machine, "replica_count": replicas, "container_spec": container}


def spec(*pools: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "worker_pool_specs": list(pools),
        "base_output_directory": {"output_uri_prefix": "gs://bucket/out"},
        **fields,
    }


def custom(client: v1.JobServiceClient, job_spec: dict[str, Any], **fields: Any) -> str:
    """Create a custom job and return its name."""
    job = v1.CustomJob({"display_name": "job", "job_spec": job_spec} | fields)
    return client.create_custom_job(parent=PARENT, custom_job=job).name


def double(name: str, low: float, high: float, **fields: Any) -> dict[str, Any]:
    return {"parameter_id": name, "double_value_spec": {"min_value": low, "max_value": high}, **fields}


def integer(name: str, low: int, high: int, **fields: Any) -> dict[str, Any]:
    return {"parameter_id": name, "integer_value_spec": {"min_value": low, "max_value": high}, **fields}


def discrete(name: str, *values: float, **fields: Any) -> dict[str, Any]:
    return {"parameter_id": name, "discrete_value_spec": {"values": values}, **fields}


def categorical(name: str, *values: str, **fields: Any) -> dict[str, Any]:
    return {"parameter_id": name, "categorical_value_spec": {"values": values}, **fields}


def study_spec(*parameters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"metrics": [{"metric_id": "score", "goal": "MAXIMIZE"}], "parameters": list(parameters), **fields}


def tuning(study: dict[str, Any], code: str = REPORT, **fields: Any) -> v1.HyperparameterTuningJob:
    counts = {"max_trial_count": 4, "parallel_trial_count": 2}
    job = {"display_name": "job", "study_spec": study, "trial_job_spec": spec(pool(code)), **counts}
    return v1.HyperparameterTuningJob(job | fields)


def tune(client: v1.JobServiceClient, server: VertexServer, *args: Any, state: str = "SUCCEEDED", **fields: Any) -> Any:
    """Run a tuning job to its end, and return what the service then tells about it."""
    job = client.create_hyperparameter_tuning_job(parent=PARENT, hyperparameter_tuning_job=tuning(*args, **fields))
    server.wait_for(job.name, state)
    return client.get_hyperparameter_tuning_job(name=job.name)


def output(server: VertexServer, stream: str = "stdout") -> list[str]:
    return [line.text for line in server.lines if line.stream == stream]


def wait_until(condition: Any, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though perhaps nobody has asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
