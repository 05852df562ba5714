"""A job of Vertex AI: the command line of a laptop, and an environment that says where things go and whose trial it is.

The bucket is a directory that stands for its mount. What gcsfuse itself does cannot be tried here; its refusal to
rename directories is played.
"""

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import in_bucket, mounted
from jaxbandit.data import DATASETS, cached
from jaxbandit.reporting import EventLog
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.metrics import Curves, RoundMetrics
from tests.command_line import SMALL, Result, assert_refused, call, end, hashes, shell, start, write_ratings
from tests.support import assert_input_error
from tests.vertex.bucket import Bucket

LONG = ("--env", "wheel", "--batch-size", "16", "--steps-per-loop", "50", "--seeds", "2", "--training-loops", "120")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Bucket:
    """The bucket of a finished job."""
    bucket = Bucket(tmp_path_factory.mktemp("small"))
    bucket.model.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**bucket.variables, "GOOGLE_CLOUD_PROJECT": "mine"}.items():
            patch.setenv(name, value)
        done = call("run", *SMALL)
    assert done.status == 0, done
    return bucket


@pytest.fixture
def finished(small, job) -> Bucket:
    """A job that has finished."""
    for source, target in ((small.output, job.output), (small.metric, job.metric)):
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return job


def test_a_preempted_job_goes_on_under_the_same_command_line_to_the_numbers_of_a_laptop(bucket, tmp_path) -> None:
    assert shell("run", *LONG, "--out", tmp_path / "laptop").status == 0
    process = start("run", *LONG, **bucket.variables)
    try:
        until = time.monotonic() + 120
        while not bucket.metric.exists() and time.monotonic() < until:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        stopped = end(process)
    finally:
        process.kill()
    assert stopped.status == 130, stopped
    assert stopped.err.splitlines()[-1].endswith(" interactions; go on with: start the same again")
    assert Checkpoints(bucket.checkpoints).rounds()
    assert {path.name for path in bucket.model.iterdir()} == {"config.json"}
    again = end(start("run", *LONG, **bucket.variables))
    assert again.status == 0, again
    assert "simulating   0%" not in again.err
    assert (bucket.model / "metrics.csv").read_bytes() == (tmp_path / "laptop/metrics.csv").read_bytes()
    assert bucket.names() == {"model", "checkpoints", "logs"}
    assert len(list(bucket.logs.glob("events*"))) == 1
    summary = json.loads((bucket.model / "summary.json").read_text())
    assert float(bucket.lines()[-1]["final_average_return"]) == summary["final"]["average_return"]["mean"]
    steps = [int(line["global_step"]) for line in bucket.lines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == summary["interactions_per_seed"]


def test_a_finished_job_that_is_started_again_changes_nothing_and_reports_again(finished) -> None:
    job = finished
    before, reported = hashes(job.output), job.lines()
    assert 10 < len(reported) <= 51
    again = call("run", *SMALL)
    assert (again.status, again.err) == (0, "")
    assert hashes(job.output) == before
    assert len(job.lines()) == len(reported) + 1
    assert job.lines()[-1] | {"timestamp": 0} == reported[-1] | {"timestamp": 0}


def test_a_job_killed_before_its_first_checkpoint_begins_again(finished) -> None:
    job = finished
    whole = (job.model / "metrics.csv").read_bytes()
    for path in [*job.checkpoints.rglob("*"), *job.model.glob("[!c]*")]:
        if path.is_file():
            path.unlink()
    assert call("run", *SMALL).status == 0
    assert (job.model / "metrics.csv").read_bytes() == whole


def test_a_place_that_belongs_to_another_configuration_is_refused(finished) -> None:
    before = hashes(finished.output)
    assert_refused(call("run", *SMALL, "--alpha", "2"), "belongs to another configuration", "alpha 1.0 and 2.0")
    assert hashes(finished.output) == before


def test_checkpoints_of_a_run_whose_results_are_gone_are_refused_and_stay(finished) -> None:
    shutil.rmtree(finished.model)
    before = hashes(finished.output)
    assert_refused(call("run", *SMALL), "checkpoints go to", "allowed: a new or empty directory")
    assert hashes(finished.output) == before


def test_a_job_that_is_refused_leaves_nothing(job) -> None:
    (job.mount / "bucket" / "r.csv").write_text("user,item,rating\n1,1,no\n")
    assert_refused(call("run", "--env", "mf", "--ratings", "gs://bucket/r.csv"), "r.csv")
    assert not job.output.exists()
    assert not job.metric.exists()


def test_an_explicit_place_holds_all_and_is_gone_on_with_too(job, tmp_path) -> None:
    assert call("run", *SMALL, "--out", "gs://bucket/mine").status == 0
    out = job.mount / "bucket" / "mine"
    assert {"config.json", "summary.json", "checkpoints", "tensorboard"} <= {path.name for path in out.iterdir()}
    assert not job.output.exists()
    assert len(job.lines()) > 10
    assert call("run", *SMALL, "--out", "gs://bucket/mine").status == 0


def test_paths_of_a_mounted_bucket_are_read_there_and_kept_as_they_were_written(job) -> None:
    write_ratings(job.mount / "bucket" / "r.csv")
    world = ("--env", "mf", "--rank-k", "3", "--num-actions", "4", "--ratings", "gs://bucket/r.csv")
    done = call("run", *world, "--batch-size", "4", "--training-loops", "2", "--seeds", "1", "--log-interactions")
    assert done.status == 0, done
    assert json.loads((job.model / "config.json").read_text())["ratings"] == "gs://bucket/r.csv"
    again = call("run", "--config", "gs://bucket/job/3/model/config.json", "--out", "gs://bucket/again")
    assert again.status == 0, again
    there = job.mount / "bucket" / "again"
    assert (there / "metrics.csv").read_bytes() == (job.model / "metrics.csv").read_bytes()
    seen = call("evaluate", "gs://bucket/job/3/model", "--policy-from", "gs://bucket/again", "--policy-seed", "0")
    assert seen.status == 0, seen
    assert (job.model / "evaluation.json").exists()
    both = call("compare", "gs://bucket/job/3/model", "gs://bucket/again", "--out", "gs://bucket/both")
    assert both.status == 0, both
    assert (job.mount / "bucket/both/comparison.csv").exists()


def test_only_buckets_that_are_mounted_are_looked_for_under_the_mount(bucket, monkeypatch) -> None:
    monkeypatch.setenv("JAXBANDIT_GCS_MOUNT", str(bucket.mount))
    assert mounted("gs://bucket/a/b/") == f"{bucket.mount}/bucket/a/b/"
    assert mounted("gs://bucket") == f"{bucket.mount}/bucket"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://localhost")  # else the network is asked
    for path in ("gs://other/a", "gs://../a", "gs:///a", "bucket/a", str(bucket.mount), ""):
        assert mounted(path) == path
    assert_input_error(lambda: mounted("s3://bucket/a"), "s3://bucket/a", "gs://BUCKET/PATH")
    assert in_bucket("gs://other/a")
    assert in_bucket(f"{bucket.mount}/bucket/a")
    assert not in_bucket(f"{bucket.mount}2/bucket/a")


def test_a_data_set_with_a_name_is_taken_from_the_bucket_and_checked(job, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAXBANDIT_DATA", "gs://bucket/_data")
    assert_refused(call("run", "--ratings", "ml-100k"), "not downloaded yet")
    (job.mount / "bucket/_data").mkdir()
    zipped = job.mount / "bucket/_data/ml-100k.zip"
    zipped.write_bytes(b"damaged")
    assert_refused(call("run", "--ratings", "ml-100k"), "ml-100k.zip", "is damaged, its md5 is another")
    own = hashlib.md5(zipped.read_bytes()).hexdigest()
    monkeypatch.setitem(DATASETS, "ml-100k", DATASETS["ml-100k"]._replace(md5=own))
    assert cached("ml-100k").read_bytes() == b"damaged"
    zipped.unlink()
    assert cached("ml-100k") is not None


def test_compiled_programs_are_kept_in_the_bucket_for_the_next_machine(bucket, monkeypatch) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)  # of the tests: what a user sets wins
    own = {"JAXBANDIT_PROGRAMS": "gs://bucket/_programs", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = end(start("run", *SMALL, **bucket.variables, **own))
    assert done.status == 0, done
    assert len(list((bucket.mount / "bucket/_programs").iterdir())) > 1


def test_a_sweep_in_a_trial_reports_its_best_and_leaves_no_checkpoints(job) -> None:
    grid = ("sweep", *SMALL, "--grid", "alpha=0.1,10", "--metric", "average_return")
    done = call(*grid)
    assert done.status == 0, done
    summary = json.loads((job.model / "summary.json").read_text())
    (line,) = job.lines()
    assert float(line["final_average_return"]) == summary["final"]["average_return"]["mean"]
    assert job.names() == {"model", "logs"}
    assert len(list(job.logs.iterdir())) == 2
    before = hashes(job.output)
    assert call(*grid).status == 0
    assert hashes(job.output) == before
    assert_refused(call(*grid[:-1], "regret"), "belongs to another configuration", "metric")


@pytest.fixture
def exported(monkeypatch) -> list[tuple[str, str, str]]:
    """What is exported, by a stand-in."""
    calls = []

    def export(run: str, out: str, *, seed: int = 0, checkpoints: str | None = None) -> None:
        assert (Path(run) / "summary.json").exists()
        calls.append((run, out, checkpoints))
        if (Path(run) / "refuse").exists():
            raise InputError("agent is too shy")

    monkeypatch.setattr("jaxbandit.policies.export.export", export)
    return calls


def test_a_run_leaves_its_policy_beside_its_results_and_a_sweep_none(job, exported) -> None:
    assert call("run", *SMALL).status == 0
    assert exported == [(str(job.model), str(job.model / "policy"), str(job.checkpoints))]
    assert call("sweep", *SMALL, "--grid", "alpha=1,2", "--out", "gs://bucket/sweep").status == 0
    assert len(exported) == 1


def test_an_agent_without_a_policy_to_leave_says_so_and_the_job_succeeds(finished, exported) -> None:
    out = call("run", *SMALL).out
    (finished.model / "refuse").touch()
    assert call("run", *SMALL) == Result(0, out, "jaxbandit: warning: no policy: agent is too shy\n")


def test_at_home_nothing_is_exported_and_nothing_reported(exported, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "metrics"))
    assert call("run", *SMALL, "--out", tmp_path / "run").status == 0
    assert not exported
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert_refused(call("run", *SMALL, "--out", tmp_path / "run"), "holds this run already")


@pytest.fixture
def no_renames_of_directories(monkeypatch) -> list[Path]:
    """Refuse what gcsfuse refuses by default, and hard links; the list is of files that were renamed."""
    renamed = []

    def only_files(real):
        def rename(source, target, **options):
            if os.path.isdir(source):
                raise OSError(24, os.strerror(24), source)
            renamed.append(Path(target))
            return real(source, target, **options)

        return rename

    def no_link(*arguments, **options):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(os, "rename", only_files(os.rename))
    monkeypatch.setattr(os, "replace", only_files(os.replace))
    monkeypatch.setattr(os, "link", no_link)
    return renamed


def test_nothing_renames_a_directory(no_renames_of_directories, job) -> None:
    checkpoints, state = Checkpoints(job.checkpoints), {"a": np.arange(3.0), "b": np.ones((2, 2), np.int32)}
    for rounds in (2, 4, 6):
        checkpoints.save(rounds, state)
    assert checkpoints.rounds() == [4, 6]
    restored = checkpoints.restore(6, state)
    assert {name: value.tolist() for name, value in restored.items()} == {"a": [0, 1, 2], "b": [[1, 1], [1, 1]]}
    checkpoints.directory.rmtree()
    assert call("run", *SMALL, "--log-interactions").status == 0
    assert call("sweep", *SMALL, "--grid", "alpha=1,2", "--out", "gs://bucket/sweep").status == 0
    assert {"summary.json", "results.csv", "000000000006.sha256"} <= {path.name for path in no_renames_of_directories}


def test_events_in_a_bucket_are_put_there_as_wholes_at_first_now_and_then_and_at_the_end(job, monkeypatch) -> None:
    def curves(rows: int) -> Curves:
        return Curves(2, np.arange(rows + 1), RoundMetrics(*(np.ones((rows, 1)) for _ in RoundMetrics._fields)))

    def size() -> int:
        (file,) = job.logs.iterdir()
        return file.stat().st_size

    clock = SimpleNamespace(now=5.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    with EventLog(job.logs) as events:
        events.append(curves(1))
        first = size()
        clock.now += 29
        events.append(curves(2))
        assert size() == first
        clock.now += 2
        events.append(curves(3))
        second = size()
        events.append(curves(4))
        assert size() == second
    assert 0 < first < second < size()
    with EventLog(job.logs) as events:
        events.append(curves(4))
    assert len(list(job.logs.iterdir())) == 1


def test_a_policy_of_another_seed_is_exported_from_where_a_job_has_left_its_checkpoints(finished, tmp_path) -> None:
    result = call("export", finished.model, "--policy-seed", "1", "--out", tmp_path / "policy")
    assert result.status == 0, result
    assert json.loads((tmp_path / "policy/policy.json").read_text())["seed"] == 1
