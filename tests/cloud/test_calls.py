"""What the server answers to any client: tokens, lists, errors, refusals."""

import time
from pathlib import Path
from typing import Any

import google.auth.crypt
import google.auth.jwt
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1

from ..vertex_server import VertexServer
from .asking import PARENT, custom, pool, spec

pytestmark = pytest.mark.emulator


def token_of_another_key() -> str:
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    claims = {"iat": int(time.time()), "exp": int(time.time()) + 600}
    return google.auth.jwt.encode(google.auth.crypt.RSASigner.from_string(private), claims).decode()


def test_a_call_without_a_token_of_the_account_is_refused(server: VertexServer) -> None:
    roots = Path(server.variables["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"]).read_bytes()
    address = server.variables["JAXBANDIT_VERTEX_ENDPOINT"]
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(roots)) as channel:
        get = channel.unary_unary("/google.cloud.aiplatform.v1.JobService/GetCustomJob")
        for header in (None, "Basic eDp5", "Bearer made-up", f"Bearer {token_of_another_key()}"):
            with pytest.raises(grpc.RpcError) as refused:
                get(b"", metadata=[("authorization", header)] if header else [], timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert not server.requests


def test_jobs_are_listed_newest_first_by_label_name_and_state(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    names = [custom(client, spec(pool("")), labels={"sweep": sweep}, display_name=sweep) for sweep in ("a", "b", "a")]
    for name in names:
        server.wait_for(name)

    def listed(filter: str, **fields: Any) -> list[str]:
        return [job.name for job in client.list_custom_jobs(request={"parent": PARENT, "filter": filter, **fields})]

    assert listed("") == names[::-1]
    assert listed("", page_size=1) == names[::-1]
    assert listed('labels.sweep="a"') == listed("labels.sweep=a") == [names[2], names[0]]
    assert listed('display_name="b" AND state="JOB_STATE_SUCCEEDED"') == [names[1]]
    assert listed("state=JOB_STATE_FAILED") == []
    assert not list(client.list_hyperparameter_tuning_jobs(parent=PARENT))
    for wrong in ("labels.sweep", 'sweep="a"', "state=DONE", 'display_name="a" display_name="b"'):
        with pytest.raises(exceptions.InvalidArgument):
            listed(wrong)


def test_an_unknown_job_or_another_project_is_told_so(server: VertexServer, client: v1.JobServiceClient) -> None:
    with pytest.raises(exceptions.NotFound):
        client.get_custom_job(name=f"{PARENT}/customJobs/1")
    with pytest.raises(exceptions.PermissionDenied):
        client.get_custom_job(name="projects/other/locations/us-central1/customJobs/1")
    with pytest.raises(exceptions.InvalidArgument, match="location"):
        client.get_custom_job(name=f"projects/{server.project}/locations/europe-west4/customJobs/1")


def test_errors_come_as_often_as_asked_for_and_may_come_after_the_deed(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    quota = "aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus"
    server.fail_next(
        "CreateCustomJob", "RESOURCE_EXHAUSTED", f"The following quota metrics exceed quota limits: {quota}"
    )
    with pytest.raises(exceptions.ResourceExhausted, match="nvidia_l4_gpus"):
        custom(client, spec(pool("")))
    assert not server.jobs
    server.fail_next("CreateCustomJob", grpc.StatusCode.UNAVAILABLE, "gone", after=True)
    with pytest.raises(exceptions.ServiceUnavailable):
        custom(client, spec(pool("")))
    (name,) = server.jobs
    server.fail_next("GetCustomJob", "UNAVAILABLE", "gone", times=2)
    for _ in range(2):
        with pytest.raises(exceptions.ServiceUnavailable):
            client.get_custom_job(name=name)
    assert client.get_custom_job(name=name).name == name
    assert [method for method, _ in server.requests] == ["CreateCustomJob"] * 2 + ["GetCustomJob"] * 3
