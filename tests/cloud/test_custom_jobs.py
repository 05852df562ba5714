"""Custom jobs, asked for with the unpatched SDK and run as processes."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1

from ..vertex_server import VertexServer
from .asking import PARENT, custom, is_gone, output, pool, spec, wait_until
from .calls import NUMBER
from .image import command_line, read_image
from .runs import KEPT, ROOT

pytestmark = pytest.mark.emulator


def test_a_job_goes_from_pending_to_its_end(server: VertexServer, client: v1.JobServiceClient) -> None:
    job = client.create_custom_job(
        parent=PARENT, custom_job=v1.CustomJob(display_name="job", job_spec=spec(pool("import time; time.sleep(60)")))
    )
    assert job.state == v1.JobState.JOB_STATE_PENDING
    assert job.name.startswith(f"projects/{NUMBER}/locations/us-central1/customJobs/")
    server.wait_for(job.name, "RUNNING")
    assert client.get_custom_job(name=job.name.replace(NUMBER, server.project)).start_time >= job.create_time
    client.cancel_custom_job(name=job.name)
    server.wait_for(job.name, "CANCELLED")
    ended = client.get_custom_job(name=job.name)
    assert ended.end_time > ended.start_time
    assert ended.error.code == grpc.StatusCode.CANCELLED.value[0]
    with pytest.raises(exceptions.FailedPrecondition):
        client.cancel_custom_job(name=job.name)


def test_a_container_gets_the_contract_and_nothing_of_the_tests(
    server: VertexServer, client: v1.JobServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--of-the-test")
    code = "import os, sys, json; print(json.dumps([sys.argv[1:], os.listdir(), dict(os.environ)]))"
    env = [{"name": "JAX_PLATFORMS", "value": "cpu"}, {"name": "AIP_MODEL_DIR", "value": "mine"}]
    job_spec = spec(pool(code, args=["run", "--a=1"], env=env))
    server.wait_for(custom(client, job_spec))
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in json.loads(output(server)[0])[2]  # of Google's own agent
    name = custom(client, job_spec | {"service_account": "trainer@test-project.iam.gserviceaccount.com"})
    job = server.wait_for(name)
    arguments, files, variables = json.loads(output(server)[1])
    assert arguments == ["run", "--a=1"]
    assert files == []
    assert variables.pop("JAX_PLATFORMS") == "cpu"
    assert variables.pop("AIP_MODEL_DIR") == "gs://bucket/out/model/"
    assert variables.pop("AIP_CHECKPOINT_DIR") == "gs://bucket/out/checkpoints/"
    assert variables.pop("AIP_TENSORBOARD_LOG_DIR") == "gs://bucket/out/logs/"
    assert variables.pop("CLOUD_ML_PROJECT_ID") == NUMBER
    assert variables.pop("CLOUD_ML_JOB_ID") == job.id == name.split("/")[-1]
    assert variables.pop("JAXBANDIT_GCS_MOUNT") == str(server.bucket("bucket").parent)
    assert variables.pop("PYTHONPATH") == str(ROOT)
    assert json.loads(variables.pop("CLUSTER_SPEC"))["task"] == {"type": "workerpool0", "index": 0}
    assert {key: variables.pop(key) for key in server.variables} == server.variables
    rest = {*KEPT, "LC_CTYPE", "HOME", "JAXBANDIT_COORDINATOR_PORT", "JAXBANDIT_CACHE"}
    assert set(variables) <= rest | set(read_image().variables)


def test_a_container_without_a_command_runs_the_entrypoint_of_the_dockerfile(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    assert command_line(read_image(), [], ["run", "--a"]) == [sys.executable, "-m", "jaxbandit", "run", "--a"]
    server.wait_for(custom(client, spec(pool("", command=[], args=["run", "--help"]))))
    assert "--training-loops" in "".join(output(server))


def test_a_dockerfile_is_read_as_docker_does(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        'FROM a\nENTRYPOINT ["old"]\nFROM b\n# ENTRYPOINT no\nENV A=1 \\\n  B="2 3"\nENTRYPOINT ["x", "y"]\nCMD ["z"]\n'
    )
    image = read_image(file)
    assert image.variables == {"A": "1", "B": "2 3"}
    assert command_line(image, [], []) == ["x", "y", "z"]
    assert command_line(image, [], ["a"]) == ["x", "y", "a"]
    assert command_line(image, ["c"], ["a"]) == ["c", "a"]


def test_a_failing_container_fails_the_job_and_its_output_says_why(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    name = custom(client, spec(pool("import sys; print('out'); sys.exit('why')")))
    server.wait_for(name, "FAILED")
    assert client.get_custom_job(name=name).error.message == (
        "The replica workerpool0-0 exited with a non-zero status of 1."
    )
    with pytest.raises(AssertionError, match="why"):
        server.wait_for(name, timeout=5)


def test_a_job_is_ended_at_its_timeout(server: VertexServer, client: v1.JobServiceClient) -> None:
    limit = {"timeout": timedelta(seconds=1)}
    name = custom(client, spec(pool("import time; time.sleep(60)"), scheduling=limit))
    server.wait_for(name, "FAILED", 20)
    error = client.get_custom_job(name=name).error
    assert error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert "timeout" in error.message


def test_a_process_that_ignores_sigterm_is_killed_after_the_time_of_grace(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    name = custom(client, spec(pool(code)))
    wait_until(lambda: output(server) == ["ready"])
    client.cancel_custom_job(name=name)
    assert client.get_custom_job(name=name).state == v1.JobState.JOB_STATE_CANCELLING
    started = time.monotonic()
    server.wait_for(name, "CANCELLED", 20)
    assert 1 < time.monotonic() - started < 10


# Counts its starts in the bucket; leaves a word when it gets SIGTERM; the second start ends well.
RESUMES = """
import os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["AIP_CHECKPOINT_DIR"].replace("gs:/", os.environ["JAXBANDIT_GCS_MOUNT"]))
here.mkdir(parents=True, exist_ok=True)
def leave(*_):
    (here / "word").write_text("saved")
    sys.exit(1)
signal.signal(signal.SIGTERM, leave)
starts = here / "starts"
starts.write_text((starts.read_text() if starts.exists() else "") + "x")
print(os.getcwd(), sorted(os.environ.items()), flush=True)
time.sleep(0 if len(starts.read_text()) > 1 else 60)
"""


@pytest.mark.parametrize("kill", [False, True])
def test_a_preempted_job_starts_again_with_the_same_environment(
    server: VertexServer, client: v1.JobServiceClient, kill: bool
) -> None:
    name = custom(client, spec(pool(RESUMES)))
    wait_until(lambda: output(server))
    server.preempt(name, kill=kill)
    job = server.wait_for(name)
    kept = server.bucket("bucket") / "out" / "checkpoints"
    assert job.restarts == 1
    assert (kept / "starts").read_text() == "xx"
    assert (kept / "word").exists() is not kill
    (first_place, first), (second_place, second) = (line.split(" ", 1) for line in output(server))
    assert first.replace("-start0", "") == second.replace("-start1", "")
    assert first_place != second_place  # a new machine has an empty disk
    with pytest.raises(ValueError, match="no run"):
        server.preempt(name)


def test_replicas_run_side_by_side_and_know_each_other(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = "import os; print(os.environ['CLUSTER_SPEC'])"
    server.wait_for(custom(client, spec(pool(code), pool(code, replicas=2))))
    clusters = [json.loads(line) for line in output(server)]
    assert sorted((c["task"]["type"], c["task"]["index"]) for c in clusters) == [
        ("workerpool0", 0),
        ("workerpool1", 0),
        ("workerpool1", 1),
    ]
    hosts = clusters[0]["cluster"]["workerpool0"] + clusters[0]["cluster"]["workerpool1"]
    assert len(set(hosts)) == 3
    assert all(c["cluster"] == clusters[0]["cluster"] and c["environment"] == "cloud" for c in clusters)


def test_a_failing_replica_ends_the_others(server: VertexServer, client: v1.JobServiceClient) -> None:
    sleeps, fails = "import time; time.sleep(60)", "raise SystemExit(3)"
    name = custom(client, spec(pool(sleeps), pool(fails)))
    job = server.wait_for(name, "FAILED", 20)
    assert job.message.error.message == "The replica workerpool1-0 exited with a non-zero status of 3."


def test_what_a_container_has_started_ends_with_it(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '99'], stdout=subprocess.DEVNULL).pid)"
    server.wait_for(custom(client, spec(pool(code))))
    wait_until(lambda: is_gone(int(output(server)[0])))


def test_a_job_without_retries_fails_with_its_machines(server: VertexServer, client: v1.JobServiceClient) -> None:
    name = custom(client, spec(pool("import time; time.sleep(60)"), scheduling={"disable_retries": True}))
    server.wait_for(name, "RUNNING")
    server.preempt(name)
    assert server.wait_for(name, "FAILED").message.error.message == "The machines of the job were preempted."
