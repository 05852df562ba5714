"""Launcher to protocol to trainer to result, with the real command line and the unpatched SDK, on a local server."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import jaxbandit
from jaxbandit.experiments.config import read_config
from tests.cloud.asking import wait_until
from tests.command_line import ROOT, SMALL, Result, assert_refused, call, end, shell, start
from tests.vertex_server import VertexServer

BUCKET, REGION = "lab", "us-central1"
QUICK = (*SMALL, "--checkpoint-every", "20")
LONG = ("--env", "wheel", "--batch-size", "8", "--training-loops", "4000", "--steps-per-loop", "500", "--seeds", "2")
QUOTA = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with VertexServer(tmp_path_factory.mktemp("cloud"), {BUCKET: "US-CENTRAL1", "far": "EUROPE-WEST4"}) as server:
        yield server


class Laptop:
    """A directory from which somebody launches."""

    def __init__(self, server: VertexServer, directory: Path):
        self.server, self.directory = server, directory
        self.first = len(server.jobs)

    def start(self, *args: object, **variables: object) -> subprocess.Popen[str]:
        variables = {"NO_GCE_CHECK": "true", **self.server.variables, **variables}
        return start("launch", *args, cwd=self.directory, **variables)

    def __call__(self, *args: object, **variables: object) -> Result:
        return end(self.start(*args, **variables), 400)

    def ask(self, kind: str, *args: object, **variables: object) -> Result:
        return self(kind, *self.cloud(), *args, **variables)

    def cloud(self) -> tuple[str, ...]:
        entries = {
            "project": self.server.project,
            "region": REGION,
            "bucket": f"gs://{BUCKET}/{self.directory.name}",
            "image": f"{REGION}-docker.pkg.dev/lab/bandits/jaxbandit:0123abc-cpu",
            "machine": "cpu-4",
            "poll": "0.2",
        }
        return tuple(f"--{name}={value}" for name, value in entries.items())

    @property
    def launch(self) -> Path:
        (directory,) = (self.directory / "launches").iterdir()
        return directory

    @property
    def jobs(self) -> list:
        return list(self.server.jobs.values())[self.first :]

    @property
    def output(self) -> Path:
        return self.server.bucket(BUCKET) / self.directory.name / self.launch.name


@pytest.fixture
def laptop(server, tmp_path):
    return Laptop(server, tmp_path)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_finds_the_best_values_and_the_final_training_and_its_policy_have_them(laptop):
    world = ("--ratings", "synth-100k", "--batch-size", "64", "--training-loops", "6", "--steps-per-loop", "10")
    tune = ("--tune", "alpha=double:log:0.01:300", "--tune", "batch-size=discrete:32,64,128", "--trials", "6")
    final = ("--then-train", "--final", "training-loops=8", "--final", "seeds=3")
    result = laptop.ask("hpt", *world, "--seeds", "2", *tune, "--parallel", "2", *final)
    assert result.status == 0, result

    found = read(laptop.output / "hptuning/result.json")
    values = {}
    for number in "123456":
        directory = laptop.output / "hptuning" / number / "model"
        values[number] = read(directory / "summary.json")["final"]["average_return"]["mean"]
        config = read_config(str(directory / "config.json"))
        if number == found["trial"]:
            assert found["parameters"] == {"alpha": config.agent_settings["alpha"], "batch-size": config.batch_size}
            assert type(found["parameters"]["batch-size"]) is int
    assert len({config["alpha"] for config in rows(laptop.launch / "trials.csv")}) == 6
    assert found["trial"] == max(values, key=values.get)
    assert found["metric"]["value"] == pytest.approx(values[found["trial"]], rel=1e-12)

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
    assert (
        shell(
            "run", "--config", laptop.launch / "result.json", "--training-loops", "8", "--seeds", "3", "--out", home
        ).status
        == 0
    )
    assert shell("export", home).status == 0
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


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
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
    assert read(both / "summary.json")["device"]["count"] == 2
    lines = [line for line in laptop.server.lines if line.job == laptop.jobs[1].id]
    assert {line.task for line in lines if "simulating" in line.text or "results in" in line.text} == {"workerpool0-0"}


@pytest.mark.slow
def test_a_preempted_training_goes_on_and_ends_with_the_same_numbers(laptop, tmp_path):
    training = (*LONG, "--training-loops", "800")

    def saved() -> list[int]:  # rounds at checkpoints
        places = laptop.server.bucket(BUCKET).glob(f"{tmp_path.name}/*/train/checkpoints/*.sha256")
        return [int(path.stem) for path in places]

    process = laptop.start("train", *laptop.cloud(), *training, "--scheduling", "spot")
    wait_until(lambda: max(saved(), default=0) >= 20_000, timeout=60)  # of 400,000
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


@pytest.mark.slow
def test_failed_trials_are_tolerated_up_to_a_bound(laptop):
    world = ("--env", "mf", "--training-loops", "2", "--steps-per-loop", "5", "--seeds", "1")
    tune = ("--tune", "batch-size=discrete:8,16,5000", "--algorithm", "grid", "--trials", "3", "--parallel", "1")
    result = laptop.ask("hpt", *world, *tune, "--max-failed", "2")  # synth-100k has fewer users than 5,000
    assert result.status == 0, result
    trials = rows(laptop.launch / "trials.csv")
    assert [trial["state"] for trial in trials] == ["SUCCEEDED", "SUCCEEDED", "INFEASIBLE"]
    assert trials[2]["batch-size"] == "5000"
    assert "1 failed" in result.err
    assert read(laptop.launch / "result.json")["parameters"]["batch-size"] in (8, 16)


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


def test_exhausted_quota_is_told_by_its_name_and_leaves_nothing(laptop):
    laptop.server.fail_next("CreateCustomJob", "RESOURCE_EXHAUSTED", QUOTA)
    result = laptop.ask("train", *QUICK)
    assert result.status == 2
    assert "aiplatform.googleapis.com/custom_model_training_cpus" in result.err.splitlines()[-1]
    assert "--scheduling spot" in result.err.splitlines()[-1]
    assert not laptop.jobs
    assert not list((laptop.directory / "launches").iterdir())
    assert not [path for path in laptop.server.bucket(BUCKET).glob(f"{laptop.directory.name}/**/*") if path.is_file()]


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


def assert_last_line(result: Result, status: int, *words: str) -> None:
    assert result.status == status, result
    for word in words:
        assert word in result.err.splitlines()[-1], result


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


def test_this_machine_runs_the_same_trials_without_a_cloud(tmp_path):
    tune = ("--tune", "alpha=double:log:0.01:30", "--trials", "2", "--parallel", "2", "--metric", "final_regret")
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": tmp_path / "none.json"}
    final = ("--then-train", "--final", "seeds=3")
    result = end(start("launch", "local", *QUICK, *tune, *final, "--name", "mine", cwd=tmp_path, **variables))
    assert result.status == 0, result
    launch = tmp_path / "launches/mine"
    found = read(launch / "result.json")
    values = {n: read(launch / f"hptuning/{n}/model/summary.json")["final"]["regret"]["mean"] for n in "12"}
    assert found["trial"] == min(values, key=values.get)
    trained = read_config(str(launch / "final/model/config.json"))
    assert (trained.agent_settings["alpha"], trained.seeds) == (found["parameters"]["alpha"], 3)
    assert (launch / "trials.png").exists()
    assert "linucb" in result.out


BAD = [
    (("train", "--machine", "h100x9"), "unknown machine 'h100x9'"),
    (("train", "--machine", "ct6e-standard-4t", "--topology", "3x3"), "topology is '3x3'"),
    (("train", "--machine", "g2-standard-24", "--accelerator", "NVIDIA_L4:1"), "accelerator is 'NVIDIA_L4:1'"),
    (("train", "--bucket", "lab"), "bucket is 'lab'; allowed: gs://BUCKET"),
    (("train", "--image", "lab/jaxbandit"), "image is 'lab/jaxbandit'; allowed: NAME:TAG"),
    (("train", "--tensorboard", "curves"), "service_account is missing"),
    (("train", "--alhpa", "3"), "unknown flag '--alhpa': did you mean '--alpha'?"),
    (("train", "--alpha", "-1"), "alpha is '-1'"),
    (("train", "--out", "here"), "out is given, which the launcher decides"),
    (
        ("train", "--env", "mf", "--ratings", "ratings.csv"),
        "ratings is 'ratings.csv', which the container does not have",
    ),
    (("train", "--env", "mf", "--ratings", "ml-100k"), "allowed: gs://BUCKET/PATH"),
    (("train", "--cloud", "none.toml"), "cloud is 'none.toml', which cannot be read"),
    (("sweep",), "there is one configuration"),
    (("hpt",), "tune is missing"),
    (("hpt", "--tune", "alpha=double:0:1", "--algorithm", "grid"), "tune has double alpha in a grid search"),
    (("hpt", "--tune", "alpha=double:3:1"), "tune alpha is 'double:3:1'; allowed: LOW < HIGH"),
    (("hpt", "--tune", "alpha=double:log:0:1"), "allowed: LOW < HIGH, both > 0"),
    (("hpt", "--tune", "temperature=double:0:1"), "the trainer says: unknown flag '--temperature'"),
    (("hpt", "--tune", "temperature=linear:0:1"), "the trainer says: unknown flag '--temperature'"),
    (("hpt", "--tune", "alhpa=log:0.1:1"), "the trainer says: unknown flag '--alhpa': did you mean '--alpha'?"),
    (("hpt", "--tune", "alpha=linear:-1:1"), "tune alpha is '-1'; allowed: a number >= 0"),
    (("hpt", "--tune", "alpha=double:0:1", "--trials", "2", "--parallel", "3"), "parallel is 3 of 2 trials"),
    (("hpt", "--tune", "alpha=double:0:1", "--final", "seeds=2"), "final is given without then-train"),
    (("hpt", "--tune", "alpha=double:0:1", "--then-train", "--final", "sedes=2"), "unknown flag '--sedes'"),
]


@pytest.mark.parametrize(("args", "words"), BAD)
def test_bad_input_gets_one_line_before_any_service_is_asked(args, words, laptop, monkeypatch):
    monkeypatch.chdir(laptop.directory)
    monkeypatch.setattr("jaxbandit.vertex.cloud_runner.Vertex", None)
    kind, *rest = args
    assert_refused(call("launch", kind, *laptop.cloud(), "--env", "wheel", *rest), words)
    assert not list(laptop.directory.iterdir())


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ("gs://far/x", "which lies in EUROPE-WEST4; allowed: one in us-central1"),
        ("gs://nobodys/x", "bucket is 'gs://nobodys/x', which does not exist"),
    ],
)
def test_a_bucket_elsewhere_is_refused_before_anything_is_created(bucket, words, laptop):
    result = laptop.ask("train", *QUICK, "--bucket", bucket)
    assert_last_line(result, 2, words)
    assert not laptop.jobs
    assert not list(laptop.directory.iterdir())


def test_missing_credentials_say_what_to_do(laptop):
    where = laptop.directory / "none.json"
    result = laptop.ask("train", *QUICK, GOOGLE_APPLICATION_CREDENTIALS=where, HOME=laptop.directory)
    assert_last_line(result, 2, "no credentials of Google Cloud", "gcloud auth application-default login")
    assert not list(laptop.directory.iterdir())


def test_a_missing_sdk_says_what_to_install(laptop):
    code = "import sys; sys.modules['google.cloud.aiplatform_v1'] = None\n"
    code += "from jaxbandit.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "launch", "train", *laptop.cloud(), *QUICK]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | laptop.server.variables
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=laptop.directory, timeout=100)
    result = Result(done.returncode, done.stdout, done.stderr)
    assert_last_line(result, 2, "pip install 'jaxbandit[vertex]'")
    assert not list(laptop.directory.iterdir())


def test_a_dry_run_needs_no_cloud_and_leaves_nothing(tmp_path):
    code = "import sys; sys.modules['google'] = None\nfrom jaxbandit.cli.main import main; main(sys.argv[1:])"
    where = ("--project=lab-project", f"--region={REGION}", "--bucket=gs://lab", "--image=lab/j:1", "--machine=v5e-16")
    command = [sys.executable, "-c", code, "launch", "sweep", *where, "--price=20", "--grid", "alpha=1,2", "--dry-run"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=100
    )
    assert done.returncode == 0, done.stderr
    (post,) = json.loads(done.stdout)
    assert post["body"]["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["tpuTopology"] == "4x4"
    assert "custom_model_training_tpu_v5e" in done.stderr
    assert "at most 80.00 US dollars" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "kind"), [("launch_hpt.py", "hyperparameterTuningJobs"), ("launch_sweep.py", "customJobs")]
)
def test_the_scripts_ask_for_what_their_flags_say(script, kind, tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / script), "--dry-run"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=100
    )
    assert done.returncode == 0, done.stderr
    first, *rest = json.loads(done.stdout)
    assert first["post"].endswith(kind)
    assert len(rest) == (kind == "hyperparameterTuningJobs")
