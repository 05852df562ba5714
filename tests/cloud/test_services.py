"""Storage, logs, TensorBoards and metadata, each through its own unpatched client; and what a server leaves behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1
from google.cloud import logging_v2, storage

from ..vertex_server import VertexServer
from .asking import PARENT, REPORT, custom, double, is_gone, options, pool, spec, study_spec, tune, wait_until
from .calls import NUMBER
from .replicas import Guard
from .runs import ROOT

pytestmark = pytest.mark.emulator


@pytest.fixture
def buckets(server: VertexServer) -> Iterator[storage.Client]:
    with closing(storage.Client(project=server.project)) as client:
        yield client


def test_a_bucket_tells_its_place_or_that_it_is_not_there(buckets: storage.Client) -> None:
    assert buckets.get_bucket("bucket").location == "US-CENTRAL1"
    assert buckets.get_bucket("bucket").location_type == "region"
    assert buckets.get_bucket("wide").location_type == "multi-region"
    with pytest.raises(exceptions.NotFound):
        buckets.get_bucket("other")


def test_objects_are_files_of_the_directory_that_trainers_see(server: VertexServer, buckets: storage.Client) -> None:
    bucket, folder = buckets.bucket("bucket"), server.bucket("bucket")
    bucket.blob("a/b.json").upload_from_string("{}", content_type="application/json")
    assert (folder / "a" / "b.json").read_text() == "{}"
    (folder / "a" / "c").write_bytes(b"written by a trainer")
    assert bucket.blob("a/c").download_as_bytes() == b"written by a trainer"
    assert bucket.get_blob("a/c").size == 20
    large = os.urandom(600_000)
    bucket.blob("large", chunk_size=262_144).upload_from_string(large)  # resumable, in three pieces
    assert (folder / "large").read_bytes() == large
    assert bucket.blob("large", chunk_size=262_144).download_as_bytes() == large
    (folder / "empty").touch()
    assert bucket.blob("empty").download_as_bytes() == b""
    bucket.blob("a/c").delete()
    assert not (folder / "a" / "c").exists()
    assert not bucket.blob("a/c").exists()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a/c").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        buckets.bucket("other").blob("a").upload_from_string("")
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("../account.json").upload_from_string("")


def test_objects_are_listed_by_prefix_and_folder_over_pages(server: VertexServer, buckets: storage.Client) -> None:
    for name in ("run/1/model", "run/1/logs", "run/2/model", "run/result", "other"):
        buckets.bucket("bucket").blob(name).upload_from_string("x")
    names = [blob.name for blob in buckets.list_blobs("bucket", prefix="run/", page_size=1)]
    assert names == ["run/1/logs", "run/1/model", "run/2/model", "run/result"]
    folded = buckets.list_blobs("bucket", prefix="run/", delimiter="/", page_size=1)
    assert [blob.name for blob in folded] == ["run/result"]
    assert folded.prefixes == {"run/1/", "run/2/"}


def test_a_write_can_ask_that_nothing_was_written_before(server: VertexServer, buckets: storage.Client) -> None:
    blob = buckets.bucket("bucket").blob("state")
    blob.upload_from_string("first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        buckets.bucket("bucket").blob("state").upload_from_string("second", if_generation_match=0)
    blob.upload_from_string("third", if_generation_match=blob.generation)
    assert (server.bucket("bucket") / "state").read_text() == "third"


def test_logs_are_what_the_replicas_wrote(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr); print('three', end='')"
    name = custom(client, spec(pool(code)))
    server.wait_for(name)
    study = tune(client, server, study_spec(double("x", 0, 1)), "import sys; print(sys.argv)" + REPORT)
    place = {"api_endpoint": server.variables["JAXBANDIT_LOGGING_ENDPOINT"]}
    with closing(logging_v2.Client(project=server.project, client_options=place)) as logs:

        def found(job: str, more: str = "", **fields: object) -> list[logging_v2.LogEntry]:
            filter_ = f'resource.type="ml_job" AND resource.labels.job_id="{job.split("/")[-1]}"{more}'
            return list(logs.list_entries(filter_=filter_, **fields))

        entries = found(name)
        assert sorted((entry.payload["message"], entry.severity) for entry in entries) == [
            ("one", "INFO"),
            ("three", "INFO"),
            ("two", "ERROR"),
        ]
        assert entries[0].resource.labels["task_name"] == "workerpool0-0"
        times = [entry.timestamp for entry in entries]
        assert times == sorted(set(times))
        assert [entry.timestamp for entry in found(name, order_by="timestamp desc", page_size=1)] == times[::-1]
        later = found(name, f' AND timestamp>"{times[0].isoformat()}"')
        assert [entry.timestamp for entry in later] == times[1:]
        assert [entry.payload["message"] for entry in found(name, " AND severity>=ERROR")] == ["two"]
        (third,) = found(study.name, ' AND labels."ml.googleapis.com/trial_id"="3"')
        assert f"--x={study.trials[2].parameters[0].value}" in third.payload["message"]
        assert len(found(study.name)) == 4
        with pytest.raises(exceptions.InvalidArgument):
            found(name, " severity>=ERROR")


def test_a_tensorboard_is_created_found_and_used(server: VertexServer, client: v1.JobServiceClient) -> None:
    with v1.TensorboardServiceClient(client_options=options(server)) as boards:
        board = boards.create_tensorboard(parent=PARENT, tensorboard={"display_name": "mine"}).result(timeout=10)
        assert board.name.startswith(f"projects/{NUMBER}/locations/us-central1/tensorboards/")
        assert boards.get_tensorboard(name=board.name).display_name == "mine"
        for name, number in (("mine", 1), ("other", 0)):
            request = {"parent": PARENT, "filter": f'display_name="{name}"'}
            assert len(list(boards.list_tensorboards(request=request))) == number
        with pytest.raises(exceptions.NotFound):
            boards.get_tensorboard(name=f"{PARENT}/tensorboards/1")
    service_account = f"trainer@{server.project}.iam.gserviceaccount.com"
    server.wait_for(custom(client, spec(pool(""), tensorboard=board.name, service_account=service_account)))


def test_contexts_are_kept_as_experiments_need_them(server: VertexServer) -> None:
    store = f"{PARENT}/metadataStores/default"
    with v1.MetadataServiceClient(client_options=options(server)) as metadata:
        with pytest.raises(exceptions.NotFound):
            metadata.get_metadata_store(name=store)
        metadata.create_metadata_store(parent=PARENT, metadata_store_id="default").result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            metadata.get_context(name=f"{store}/contexts/bandits")
        experiment = metadata.create_context(parent=store, context={"display_name": "e"}, context_id="bandits")
        run = metadata.create_context(parent=store, context={"display_name": "r"}, context_id="bandits-1")
        with pytest.raises(exceptions.AlreadyExists):
            metadata.create_context(parent=store, context={"display_name": "r"}, context_id="bandits-1")
        metadata.add_context_children(context=experiment.name, child_contexts=[run.name])
        run.metadata = {"_metrics": {"regret": 0.5}}
        metadata.update_context(context=run)
        again = metadata.get_context(name=run.name)
        assert again.metadata["_metrics"]["regret"] == 0.5
        assert list(again.parent_contexts) == [experiment.name]
        for get, kind in ((metadata.get_artifact, "artifacts"), (metadata.get_execution, "executions")):
            with pytest.raises(exceptions.NotFound):
                get(name=f"{store}/{kind}/1")
    assert list(server.contexts) == [experiment.name, run.name]


# Starts a process of its own beside the one that is looked after, as a trainer's data loader might.
FAMILY = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); "
FAMILY += "print('ready', flush=True); time.sleep(99)"
OWNER = f"""
import os, sys, time, pathlib
from tests.cloud.asking import custom, options, pool, spec, v1, wait_until
from tests.vertex_server import VertexServer
with VertexServer(pathlib.Path(sys.argv[1]), {{"bucket": "US-CENTRAL1"}}) as server:
    os.environ.update(server.variables)
    with v1.JobServiceClient(client_options=options(server)) as client:
        custom(client, spec(pool({FAMILY!r})))
        wait_until(lambda: server.lines)
    print("ready", flush=True)
    if sys.argv[2] == "wait": time.sleep(99)
"""


@pytest.mark.parametrize("way", ["leave", "wait"])
def test_nothing_survives_the_server_even_if_its_process_is_killed(tmp_path: Path, way: str) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), way]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        children: list[psutil.Process] = []
        if way == "wait":
            assert owner.stdout.readline() == "ready\n"
            children = psutil.Process(owner.pid).children(recursive=True)
            assert len(children) == 3  # the guard, the container, and what that has started
            owner.kill()
        owner.communicate(timeout=60)
    finally:
        owner.kill()
        owner.wait()
    assert owner.returncode == (-9 if way == "wait" else 0)
    wait_until(lambda: all(is_gone(child.pid) for child in children))
    wait_until(lambda: not any(_within(process, tmp_path) for process in psutil.process_iter()))


def test_the_guard_leaves_alone_what_has_ended_and_may_be_another_process_by_now() -> None:
    guard = Guard()
    over, left = (subprocess.Popen(["sleep", "99"], start_new_session=True) for _ in range(2))
    try:
        for sign, process in (("+", over), ("+", left), ("-", over)):
            guard.tell(sign, process.pid)
        guard.close()
        assert left.wait(10) == -9
        assert over.poll() is None
    finally:
        for process in (over, left):
            process.kill()
            process.wait()


def _within(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except (psutil.Error, OSError):
        return False
