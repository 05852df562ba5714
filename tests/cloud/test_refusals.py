"""What is refused when a job is created: the service would, from what is known of it."""

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1

from ..vertex_server import VertexServer
from . import checks
from .asking import PARENT, categorical, discrete, double, integer, pool, spec, study_spec, tuning

pytestmark = pytest.mark.emulator


def pools(job: Any) -> Any:
    return job.job_spec.worker_pool_specs


def container(job: Any) -> Any:
    return pools(job)[0].container_spec


def machine(job: Any, kind: str, accelerator: str = "", count: int = 0, topology: str = "") -> None:
    pools(job)[0].machine_spec = {
        "machine_type": kind,
        "accelerator_type": accelerator or "ACCELERATOR_TYPE_UNSPECIFIED",
        "accelerator_count": count,
        "tpu_topology": topology,
    }


def set_fields(target: Any, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(target, name, value)


BOARD = f"{PARENT}/tensorboards/1"
WRONG_JOBS = {
    "no tag": (lambda job: set_fields(container(job), image_uri="us-docker.pkg.dev/p/r/image"), "tag or a digest"),
    "no registry": (lambda job: set_fields(container(job), image_uri="image:1"), "registry"),
    "no machine": (lambda job: machine(job, "n1-giant-4"), "n1-giant-4"),
    "wrong accelerator": (lambda job: machine(job, "g2-standard-8", "NVIDIA_TESLA_T4", 1), "1 x NVIDIA_L4"),
    "wrong count": (lambda job: machine(job, "a2-highgpu-2g", "NVIDIA_TESLA_A100", 1), "2 x NVIDIA_TESLA_A100"),
    "no accelerator": (lambda job: machine(job, "a3-highgpu-8g"), "8 x NVIDIA_H100_80GB"),
    "T4 on e2": (lambda job: machine(job, "e2-standard-4", "NVIDIA_TESLA_T4", 1), "cannot be attached"),
    "3 T4": (lambda job: machine(job, "n1-standard-8", "NVIDIA_TESLA_T4", 3), "cannot be attached"),
    "no count": (lambda job: machine(job, "n1-standard-8", "NVIDIA_TESLA_T4"), "need each other"),
    "topology": (lambda job: machine(job, "ct5lp-hightpu-4t", topology="3x3"), "2x2, 2x4"),
    "TPU type": (lambda job: machine(job, "ct5lp-hightpu-4t", "TPU_V5_LITEPOD", 4, "2x2"), "no accelerator type"),
    "TPU on n1": (lambda job: machine(job, "n1-standard-8", topology="2x2"), "no TPU"),
    "two primaries": (lambda job: set_fields(pools(job)[0], replica_count=2), "replica_count must be 1"),
    "101 variables": (lambda job: set_fields(container(job), env=[{"name": f"A{i}"} for i in range(101)]), "101"),
    "name of variable": (lambda job: set_fields(container(job), env=[{"name": "a-b"}]), "a-b"),
    "long name": (lambda job: set_fields(job, display_name="x" * 129), "129"),
    "label key": (lambda job: set_fields(job, labels={"Sweep": "a"}), "Sweep"),
    "label value": (lambda job: set_fields(job, labels={"sweep": "a.b"}), "a.b"),
    "long label": (lambda job: set_fields(job, labels={"sweep": "a" * 64}), "63"),
    "no URI": (lambda job: set_fields(job.job_spec.base_output_directory, output_uri_prefix="/out"), "gs://"),
    "no bucket": (lambda job: set_fields(job.job_spec.base_output_directory, output_uri_prefix="gs://no/out"), "exist"),
    "no account": (lambda job: set_fields(job.job_spec, tensorboard=BOARD), "service_account"),
    "no board": (lambda job: set_fields(job.job_spec, tensorboard=BOARD, service_account="a@b"), "does not exist"),
    "both": (lambda job: set_fields(job.job_spec, tensorboard=BOARD, experiment="x", service_account="a@b"), "both"),
    "flex start of T4": (
        lambda job: (
            machine(job, "n1-standard-8", "NVIDIA_TESLA_T4", 1),
            set_fields(job.job_spec.scheduling, strategy="FLEX_START"),
        ),
        "FLEX_START",
    ),
    "spot pod": (
        lambda job: (
            machine(job, "ct5lp-hightpu-4t", topology="4x4"),
            set_fields(job.job_spec.scheduling, strategy="SPOT"),
        ),
        "SPOT",
    ),
}


@pytest.mark.parametrize("case", WRONG_JOBS)
def test_a_job_that_cannot_run_is_refused_and_not_created(
    server: VertexServer, client: v1.JobServiceClient, case: str
) -> None:
    change, words = WRONG_JOBS[case]
    job = v1.CustomJob({"display_name": "job", "job_spec": spec(pool(""))})
    change(job)
    with pytest.raises(exceptions.InvalidArgument, match=words):
        client.create_custom_job(parent=PARENT, custom_job=job)
    assert not server.jobs


X = double("x", 0, 1)
WRONG_STUDIES = {
    "parallel": (study_spec(X), {"parallel_trial_count": 5}, "exceeds max_trial_count"),
    "no trials": (study_spec(X), {"max_trial_count": 0}, "positive"),
    "double in a grid": (study_spec(X, algorithm="GRID_SEARCH"), {}, "GRID_SEARCH does not support"),
    "min above max": (study_spec(integer("x", 3, 3)), {}, "less than max_value"),
    "log of 0": (study_spec(double("x", 0, 1, scale_type="UNIT_LOG_SCALE")), {}, "above 0"),
    "falling": (study_spec(discrete("x", 2, 1)), {}, "increase"),
    "category twice": (study_spec(categorical("x", "a", "a")), {}, "twice"),
    "name twice": (study_spec(X, X), {}, "twice"),
    "scaled category": (study_spec(categorical("x", "a", scale_type="UNIT_LINEAR_SCALE")), {}, "no scale"),
    "no values": (study_spec(discrete("x")), {}, "no values"),
    "no parameters": (study_spec(), {}, "parameters"),
    "no goal": (study_spec(X) | {"metrics": [{"metric_id": "score"}]}, {}, "goal"),
    "failed above all": (study_spec(X), {"max_failed_trial_count": 5}, "max_failed_trial_count"),
}


@pytest.mark.parametrize("case", WRONG_STUDIES)
def test_a_study_that_cannot_run_is_refused_and_not_created(
    server: VertexServer, client: v1.JobServiceClient, case: str
) -> None:
    study, fields, words = WRONG_STUDIES[case]
    with pytest.raises(exceptions.InvalidArgument, match=words):
        client.create_hyperparameter_tuning_job(parent=PARENT, hyperparameter_tuning_job=tuning(study, **fields))
    assert not server.jobs


@pytest.mark.parametrize(
    ("kind", "accelerator", "count", "topology"),
    [
        ("n1-highmem-16", "", 0, ""),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 2, ""),
        ("g2-standard-24", "NVIDIA_L4", 2, ""),
        ("a2-highgpu-8g", "NVIDIA_TESLA_A100", 8, ""),
        ("a3-ultragpu-8g", "NVIDIA_H200_141GB", 8, ""),
        ("ct5lp-hightpu-8t", "", 0, "2x4"),
        ("ct6e-standard-4t", "", 0, "16x16"),
        ("tpu7x-standard-4t", "", 0, "2x2x1"),
    ],
)
def test_a_machine_that_exists_is_accepted(kind: str, accelerator: str, count: int, topology: str) -> None:
    job = v1.CustomJob({"display_name": "job", "job_spec": spec(pool(""))})
    machine(job, kind, accelerator, count, topology)
    checks.check_spec(job.job_spec, VertexServer.region, {"bucket"}, {})
