"""Launcher to protocol to trainer to result, with the real command line and the unpatched SDK, on a local server."""

import json
import os
import signal
import time

import numpy as np
import pytest

import jaxbandit
from jaxbandit.experiments.config import read_config
from tests.cloud.asking import wait_until
from tests.command_line import SMALL, call, end, shell, write_ratings
from tests.vertex.laptop import BUCKET, LONG, QUICK, Laptop, assert_last_line, read, rows

pytestmark = pytest.mark.slow


def assert_best_trial(laptop: Laptop) -> dict:
    """See that the result of a study is its best trial; the result."""
    found = read(laptop.output / "hptuning/result.json")
    values = {}
    for number in "123":
        directory = laptop.output / "hptuning" / number / "model"
        values[number] = read(directory / "summary.json")["final"]["average_return"]["mean"]
        config = read_config(str(directory / "config.json"))
        if number == found["trial"]:
            assert found["parameters"] == {"alpha": config.agent_settings["alpha"], "batch-size": config.batch_size}
            assert type(found["parameters"]["batch-size"]) is int
    assert len({config["alpha"] for config in rows(laptop.launch / "trials.csv")}) == 3
    assert found["trial"] == max(values, key=values.get)
    assert found["metric"]["value"] == pytest.approx(values[found["trial"]], rel=1e-12)
    return found


@pytest.mark.timeout(600)
def test_a_study_finds_the_best_values_and_the_final_training_and_its_policy_have_them(laptop):
    world = ("--ratings", "synth-100k", "--batch-size", "64", "--training-loops", "6", "--steps-per-loop", "10")
    tune = ("--tune", "alpha=double:log:0.01:300", "--tune", "batch-size=discrete:32,64,128", "--trials", "3")
    final = ("--then-train", "--final", "training-loops=8", "--final", "seeds=3")
    result = laptop.ask("hpt", *world, "--seeds", "2", *tune, "--parallel", "2", *final)
    assert result.status == 0, result

    found = assert_best_trial(laptop)
    trained = read_config(str(laptop.output / "final/model/config.json"))
    assert trained.agent_settings["alpha"] == found["parameters"]["alpha"]
    assert trained.batch_size == found["parameters"]["batch-size"]
    assert (trained.training_loops, trained.seeds, trained.steps_per_loop) == (8, 3, 10)
    policy = jaxbandit.load_policy(str(laptop.output / "final/model/policy"))
    assert policy.config["agent_settings"]["alpha"] == found["parameters"]["alpha"]
    spec = policy.spec
    users = np.random.default_rng(0).normal(size=(5, spec.user_dim)).astype(np.float32)
    arms = np.random.default_rng(1).integers(policy.num_items, size=(5, spec.num_actions))
    home = laptop.directory / "home"
    actions = policy.act(policy.context(user=users, arm_id=arms))
    best = laptop.launch / "result.json"
    assert shell("run", "--config", best, "--training-loops", "8", "--seeds", "3", "--out", home).status == 0
    assert call("export", home).status == 0
    other = jaxbandit.load_policy(str(home / "policy"))
    assert actions.tolist() == other.act(other.context(user=users, arm_id=arms)).tolist()
    assert len(set(actions.tolist())) > 1

    study, training = laptop.jobs
    assert (study.state, training.state) == ("SUCCEEDED", "SUCCEEDED")
    words = " ".join(result.out.split())
    assert f"{found['trial']} {found['parameters']['alpha']:.4g} {found['parameters']['batch-size']}" in words
    assert "linucb" in result.out
    assert (laptop.launch / "trials.png").stat().st_size > 10_000
    assert (laptop.launch / "final/curves.png").exists()
    assert (laptop.launch / "final/metrics.csv").read_bytes() == (
        laptop.output / "final/model/metrics.csv"
    ).read_bytes()
    again = laptop("best", laptop.launch)
    assert json.loads(again.out)["parameters"] == found["parameters"]


def test_a_sweep_has_the_results_of_one_at_home_also_on_two_machines_of_which_one_writes(laptop, tmp_path):
    sweep = (*SMALL, "--grid", "alpha=0.1,1,10", "--metric", "average_return")
    result = laptop.ask("sweep", *sweep, "--name", "one")
    assert result.status == 0, result
    assert "alpha" in result.out
    assert shell("sweep", *sweep, "--out", tmp_path / "home").status == 0
    home, fetched = tmp_path / "home", tmp_path / "launches/one/sweep"
    assert (fetched / "results.csv").read_bytes() == (home / "results.csv").read_bytes()
    assert (fetched / "sweep.png").exists()
    assert read(fetched / "best.json") == read(home / "best.json")

    assert laptop.ask("sweep", *sweep, "--name", "two", "--replicas", "2").status == 0
    both = tmp_path / "launches/two/sweep"
    found, expected = ([float(row["average_return"]) for row in rows(path / "results.csv")] for path in (both, home))
    assert found == pytest.approx(expected, rel=1e-3)
    assert read(both / "summary.json")["device"]["count"] == 2 * len(os.sched_getaffinity(0))
    lines = [line for line in laptop.server.lines if line.job == laptop.jobs[1].id]
    assert {line.task for line in lines if "simulating" in line.text or "results in" in line.text} == {"workerpool0-0"}


def test_a_preempted_training_goes_on_and_ends_with_the_same_numbers(laptop, tmp_path):
    training = (*LONG, "--training-loops", "300", "--checkpoint-every", "40")

    def saved() -> list[int]:  # rounds at checkpoints
        places = laptop.server.bucket(BUCKET).glob(f"{tmp_path.name}/*/train/checkpoints/*.sha256")
        return [int(path.stem) for path in places]

    process = laptop.start("train", *laptop.cloud(), *training, "--scheduling", "spot")
    wait_until(lambda: max(saved(), default=0) >= 20_000, timeout=60)  # of 150,000
    laptop.server.preempt(laptop.jobs[0].message.name, kill=True)
    result = end(process)
    assert result.status == 0, result
    (job,) = laptop.jobs
    assert job.restarts == 1
    assert shell("run", *training, "--out", tmp_path / "home").status == 0
    assert (laptop.launch / "train/metrics.csv").read_bytes() == (tmp_path / "home/metrics.csv").read_bytes()
    lines = [line.text for line in laptop.server.lines if line.job == job.id]
    again = [i for i, text in enumerate(lines) if text.startswith("building")][1]  # of the second start
    first = next(text for text in lines[again:] if text.startswith("simulating"))
    assert int(first.partition("%")[0].split()[-1]) > 0, lines


def test_failed_trials_are_tolerated_up_to_a_bound(laptop):
    world = ("--env", "mf", "--training-loops", "2", "--steps-per-loop", "5", "--seeds", "1", "--num-actions", "4")
    tune = ("--tune", "batch-size=discrete:4,8,5000", "--algorithm", "grid", "--trials", "3", "--parallel", "1")
    write_ratings(laptop.server.bucket(BUCKET) / "twelve-users.csv")
    ratings = ("--ratings", f"gs://{BUCKET}/twelve-users.csv", "--rank-k", "3")
    result = laptop.ask("hpt", *world, *ratings, *tune, "--max-failed", "2")
    assert result.status == 0, result
    trials = rows(laptop.launch / "trials.csv")
    assert [trial["state"] for trial in trials] == ["SUCCEEDED", "SUCCEEDED", "INFEASIBLE"]
    assert trials[2]["batch-size"] == "5000"
    assert "1 failed" in result.err
    assert "batch_size is 5000; the users of a batch are distinct and there are 12" in trials[2]["why"]
    assert "trial 3 failed: " in result.err
    assert "why" in result.out
    assert read(laptop.launch / "result.json")["parameters"]["batch-size"] in (4, 8)


def test_a_study_of_which_too_many_trials_fail_has_failed(laptop):
    tune = (
        "--tune",
        "alpha=double:1:2",
        "--trials",
        "4",
        "--parallel",
        "2",
        "--max-failed",
        "2",
        "--metric",
        "final_regret",
    )
    result = laptop.ask("hpt", "--ratings", f"gs://{BUCKET}/absent.csv", *tune, "--then-train")
    assert result.status == 1, result
    assert "hptuning has ended: failed" in result.err
    assert "jaxbandit launch logs" in result.err
    assert len(laptop.jobs) == 1
    logs = laptop("logs", laptop.launch, "--trial", "1")
    assert "absent.csv" in logs.out
    best = laptop("best", laptop.launch)
    assert best.status == 1
    assert "has a final_regret" in best.err


def test_ctrl_c_leaves_the_job_which_goes_on_until_it_is_cancelled(laptop):
    process = laptop.start("train", *laptop.cloud(), *LONG)
    wait_until(lambda: laptop.jobs and laptop.jobs[0].state == "RUNNING" and launched(laptop), timeout=60)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    result = end(process)
    assert result.status == 130
    assert "what was created goes on in the cloud" in result.err
    assert f"jaxbandit launch cancel launches/{laptop.launch.name}" in result.err
    (job,) = laptop.jobs
    assert job.state == "RUNNING"
    assert laptop("cancel", laptop.launch).status == 0
    laptop.server.wait_for(job.message.name, "CANCELLED")
    result = laptop("wait", laptop.launch, "--poll", "0.2")
    assert result.status == 1
    assert "train has ended: cancelled" in result.err


def test_a_job_that_takes_too_long_fails_by_its_timeout(laptop):
    result = laptop.ask("train", *LONG, "--timeout", "3s")
    assert result.status == 1
    assert "train has ended: failed" in result.err


def test_a_job_that_was_ended_goes_on_from_its_checkpoints_also_from_another_machine(laptop, tmp_path):
    def saved() -> int:  # rounds at the last checkpoint, of 150,000
        places = laptop.server.bucket(BUCKET).glob(f"{tmp_path.name}/*/train/checkpoints/*.sha256")
        return max((int(path.stem) for path in places), default=0)

    training = (*LONG, "--training-loops", "300", "--checkpoint-every", "20")
    assert laptop.ask("train", *training, "--detach").status == 0
    wait_until(lambda: saved() >= 20_000, timeout=60)
    assert laptop("cancel").status == 0
    laptop.server.wait_for(laptop.jobs[0].message.name, "CANCELLED")
    assert_last_line(laptop("wait", "--poll", "0.2"), 1, "train has ended: cancelled", "--again")
    before = saved()
    place = f"gs://{BUCKET}/{tmp_path.name}/{laptop.launch.name}"
    (tmp_path / "other").mkdir()
    other = Laptop(laptop.server, tmp_path / "other")
    refused = other("resume", place, "--timeout", "1h")
    assert_last_line(refused, 2, "timeout is given without again")
    result = other("resume", place, "--again", "--timeout", "1h", "--machine", "cpu-8", "--poll", "0.2")
    assert result.status == 0, result
    _first, second = laptop.jobs
    assert second.message.labels["jaxbandit-try"] == "2"
    assert second.message.job_spec.worker_pool_specs[0].machine_spec.machine_type == "n1-standard-8"
    lines = [line.text for line in laptop.server.lines if line.job == second.id]
    begun = next(text for text in lines if text.startswith("simulating"))
    assert int(begun.partition("%")[0].split()[-1]) >= 100 * before // 150_000
    assert shell("run", *training, "--out", tmp_path / "home").status == 0
    assert (other.launch / "train/metrics.csv").read_bytes() == (tmp_path / "home/metrics.csv").read_bytes()
    again = laptop("resume", "--poll", "0.2")  # at home, where the second job is not known
    assert again.status == 0, again
    assert len(laptop.jobs) == 2
    assert_last_line(laptop("resume", "--again"), 2, "again is given, but train is: succeeded")


def test_a_bucket_that_hides_where_it_lies_is_a_warning(laptop):
    with laptop.server.hiding(BUCKET):
        result = laptop.ask("train", *QUICK)
    assert result.status == 0, result
    assert "may lie outside of us-central1: no storage.buckets.get" in result.err


def test_a_launch_whose_answer_was_lost_is_found_again_and_not_created_twice(laptop):
    laptop.server.fail_next("CreateCustomJob", "UNAVAILABLE", "connection reset", after=True)
    lost = laptop.ask("train", *QUICK)
    assert lost.status == 1
    assert f"jaxbandit launch resume launches/{laptop.launch.name}" in lost.err
    result = laptop("resume", "--poll", "0.2")
    assert result.status == 0, result
    assert len(laptop.jobs) == 1
    assert "linucb" in result.out


def test_a_launcher_that_is_killed_while_it_waits_is_taken_up_again(laptop):
    process = laptop.start("train", *laptop.cloud(), *QUICK)
    wait_until(lambda: laptop.jobs, timeout=60)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    again = laptop.ask("train", *QUICK)
    assert_last_line(again, 2, "holds this launch already", "jaxbandit launch resume")
    result = laptop("resume", "--poll", "0.2")
    assert result.status == 0, result
    assert len(laptop.jobs) == 1
    assert (laptop.launch / "train/summary.json").exists()


def launched(laptop: Laptop) -> bool:
    return bool(read(laptop.launch / "launch.json")["jobs"].get("train"))


def test_parameters_metrics_and_curves_are_tracked_though_the_service_fails_to_answer_at_times(laptop):
    laptop.server.fail_next("GetCustomJob", "UNAVAILABLE", "connection reset", times=2)
    account = ("--service-account", "trainer@lab.iam.gserviceaccount.com")
    result = laptop.ask(
        "train", *QUICK, "--alpha", "0.25", "--experiment", "bandits", "--tensorboard", "curves", *account
    )
    assert result.status == 0, result
    (board,) = laptop.server.tensorboards.values()
    assert board.display_name == "curves"
    (job,) = laptop.jobs
    assert job.message.job_spec.tensorboard == board.name
    runs = [c for name, c in laptop.server.contexts.items() if name.endswith(f"bandits-{laptop.launch.name}-train")]
    (run,) = runs
    metadata = dict(run.metadata)
    assert dict(metadata["_params"])["alpha"] == 0.25
    value = read(laptop.launch / "train/summary.json")["final"]["regret"]["mean"]
    assert dict(metadata["_metrics"])["final_regret"] == pytest.approx(value)
