"""The local Vertex AI server, called by the unpatched SDK."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1
from google.cloud import logging_v2, storage

from .cloud import checks, study
from .cloud.calls import NUMBER, Refusal
from .cloud.image import command_line, read_image
from .command_line import ROOT
from .vertex_server import VertexServer

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


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexServer]:
    with VertexServer(tmp_path, {"bucket": "US-CENTRAL1", "wide": "US"}, grace=2) as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def client(server: VertexServer) -> Iterator[v1.JobServiceClient]:
    with v1.JobServiceClient(client_options=options(server)) as client:
        yield client


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


def test_a_call_without_a_token_of_the_account_is_refused(server: VertexServer) -> None:
    roots = Path(server.variables["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"]).read_bytes()
    address = server.variables["JAXBANDIT_VERTEX_ENDPOINT"]
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(roots)) as channel:
        get = channel.unary_unary("/google.cloud.aiplatform.v1.JobService/GetCustomJob")
        for metadata in ([], [("authorization", "Bearer made-up")], [("authorization", "Basic eDp5")]):
            with pytest.raises(grpc.RpcError) as refused:
                get(b"", metadata=metadata, timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert not server.requests


def test_a_container_gets_the_contract_and_nothing_of_the_tests(
    server: VertexServer, client: v1.JobServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--of-the-test")
    code = "import os, sys, json; print(json.dumps([sys.argv[1:], os.listdir(), dict(os.environ)]))"
    env = [{"name": "JAX_PLATFORMS", "value": "cpu"}, {"name": "AIP_MODEL_DIR", "value": "mine"}]
    name = custom(client, spec(pool(code, args=["run", "--a=1"], env=env)))
    job = server.wait_for(name)
    arguments, files, variables = json.loads(output(server)[0])
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
    rest = {"PATH", "LANG", "LC_CTYPE", "HOME", "OPENBLAS_NUM_THREADS", "JAXBANDIT_COORDINATOR_PORT", "JAXBANDIT_CACHE"}
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


def wait_until(condition: Any, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


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


def test_trials_get_their_parameters_as_flags_and_the_service_tells_doubles(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    parameters = [
        double("x", 0.01, 100, scale_type="UNIT_LOG_SCALE"),
        integer("n", 1, 3),
        discrete("d", 16, 32),
        categorical("agent", "linucb", "lints"),
    ]
    job = tune(client, server, study_spec(*parameters), "import sys; print(sys.argv[1:])" + REPORT)
    assert [trial.id for trial in job.trials] == ["1", "2", "3", "4"]
    flags = {line.trial: line.text for line in server.lines}
    for trial in job.trials:
        values = {p.parameter_id: p.value for p in trial.parameters}
        assert 0.01 <= values["x"] <= 100
        assert values["agent"] in ("linucb", "lints")
        assert all(type(values[name]) is float for name in ("x", "n", "d"))
        n, d = int(values["n"]), values["d"]
        assert d in (16.0, 32.0)
        assert flags[trial.id] == str([f"--x={values['x']}", f"--n={n}", f"--d={d}", f"--agent={values['agent']}"])
        assert [(m.step_count, m.metrics[0].value) for m in trial.measurements] == [
            (0, 2 * values["x"]),
            (1, values["x"]),
        ]
        assert trial.final_measurement == trial.measurements[-1]
        assert trial.state == v1.Trial.State.SUCCEEDED
    assert len({trial.parameters[0].value for trial in job.trials}) == 4
    moments = [(t.start_time, 1) for t in job.trials] + [(t.end_time, -1) for t in job.trials]
    running = [sum(change for _, change in sorted(moments)[: i + 1]) for i in range(len(moments))]
    assert max(running) == 2


def test_the_measurement_that_counts_is_the_last_or_the_best(server: VertexServer, client: v1.JobServiceClient) -> None:
    for selection, factor in (("LAST_MEASUREMENT", 1), ("BEST_MEASUREMENT", 2)):
        fields = {"measurement_selection_type": selection, "algorithm": "GRID_SEARCH"}
        job = tune(client, server, study_spec(discrete("x", 3, 4), **fields))
        assert [t.final_measurement.metrics[0].value for t in job.trials] == [3 * factor, 4 * factor]


def test_a_grid_search_tries_each_point_once(server: VertexServer, client: v1.JobServiceClient) -> None:
    grid = study_spec(integer("x", 1, 2), categorical("agent", "a", "b"), algorithm="GRID_SEARCH")
    job = tune(client, server, grid, max_trial_count=9, parallel_trial_count=4)
    points = [tuple(p.value for p in trial.parameters) for trial in job.trials]
    assert points == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]


def test_the_sampler_respects_types_and_scales() -> None:
    for scale, share in (("UNIT_LINEAR_SCALE", 0.5), ("UNIT_LOG_SCALE", 0.13), ("UNIT_REVERSE_LOG_SCALE", 0.87)):
        drawn = study.suggestions(v1.StudySpec(study_spec(double("x", 0.01, 100, scale_type=scale))), 0)
        values = [next(drawn)[0].value for _ in range(300)]
        assert all(0.01 <= value <= 100 for value in values)
        assert abs(sum(value > 50 for value in values) / 300 - share) < 0.1, scale


FAILS = """
import sys
if float(sys.argv[1].split("=")[1]) > 2: sys.exit(5)
"""


def test_a_trial_without_a_metric_or_with_an_error_is_infeasible(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    grid = study_spec(integer("x", 1, 4), algorithm="GRID_SEARCH")
    job = tune(client, server, grid, FAILS + REPORT, max_failed_trial_count=2)
    assert [trial.state.name for trial in job.trials] == ["SUCCEEDED", "SUCCEEDED", "INFEASIBLE", "INFEASIBLE"]
    assert "status of 5" in job.trials[2].infeasible_reason
    assert not job.trials[2].final_measurement
    silent = tune(client, server, grid, "", state="FAILED", max_trial_count=2)
    assert {trial.infeasible_reason for trial in silent.trials} == {
        "The trial has not reported all metrics of the study."
    }
    assert silent.error.message == "All trials failed."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("str(value)", None),
        ("value", "must be strings"),
        ('"nan"', "not finite"),
        ('str(value), "trial": "99"', "has not reported"),
    ],
)
def test_a_metric_is_read_as_the_service_does(
    server: VertexServer, client: v1.JobServiceClient, change: str, reason: str | None
) -> None:
    code = REPORT.replace("str(value)", change)
    grid = study_spec(integer("x", 1, 2), algorithm="GRID_SEARCH")
    job = tune(
        client, server, grid, code, state="FAILED" if reason else "SUCCEEDED", max_trial_count=1, parallel_trial_count=1
    )
    assert (reason or "") in job.trials[0].infeasible_reason


def test_more_failed_trials_than_allowed_fail_the_job(server: VertexServer, client: v1.JobServiceClient) -> None:
    grid = study_spec(integer("x", 1, 9), algorithm="GRID_SEARCH")
    job = tune(client, server, grid, FAILS + REPORT, state="FAILED", max_trial_count=9, max_failed_trial_count=1)
    assert "max_failed_trial_count 1" in job.error.message
    assert len(job.trials) < 9


def test_a_preempted_trial_keeps_what_it_has_reported(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = REPORT + "\nprint('reported', flush=True)\ntime.sleep(0 if '-start1' in os.getcwd() else 60)"
    grid = study_spec(integer("x", 1, 2), algorithm="GRID_SEARCH")
    job = client.create_hyperparameter_tuning_job(parent=PARENT, hyperparameter_tuning_job=tuning(grid, code))
    for trial in (1, 2):
        wait_until(lambda trial=trial: any(line.trial == str(trial) for line in server.lines))
        server.preempt(job.name, trial)
    server.wait_for(job.name)
    trials = client.get_hyperparameter_tuning_job(name=job.name).trials
    assert [len(trial.measurements) for trial in trials] == [4, 4]


def test_the_median_rule_stops_a_hopeless_trial(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = REPORT + "\nif float(flags['x']) < 0: time.sleep(60)"
    stopping = {"median_automated_stopping_spec": {}, "algorithm": "GRID_SEARCH"}
    grid = study_spec(discrete("x", -1, 3, 4), **stopping)
    job = tune(client, server, grid, code, max_trial_count=3)
    assert [trial.state.name for trial in job.trials] == ["SUCCEEDED"] * 3
    assert job.trials[0].end_time > job.trials[2].end_time
    assert job.trials[0].final_measurement.metrics[0].value == -1


def test_a_cancelled_study_ends_its_trials(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    job = client.create_hyperparameter_tuning_job(
        parent=PARENT, hyperparameter_tuning_job=tuning(study_spec(double("x", 0, 1)), code)
    )
    wait_until(lambda: output(server) == ["ready"] * 2)
    client.cancel_hyperparameter_tuning_job(name=job.name)
    server.wait_for(job.name, "CANCELLED", 20)
    assert len(client.get_hyperparameter_tuning_job(name=job.name).trials) == 2


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
    quota = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus"
    server.fail_next("CreateCustomJob", "RESOURCE_EXHAUSTED", quota)
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
