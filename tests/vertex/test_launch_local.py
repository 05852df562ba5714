"""A study and its final training as processes of this machine: no cloud, no SDK."""

import signal

import pytest

from jaxbandit.cli import prepare
from jaxbandit.experiments.config import read_config
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.vertex.local_runner import LocalRunner
from jaxbandit.vertex.study import Study, read_parameters
from tests.cloud.asking import wait_until
from tests.command_line import assert_refused, call, end, start, write_ratings
from tests.vertex.laptop import LONG, QUICK, read, rows

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory without credentials, where trainings see one device as at home."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_this_machine_runs_the_same_trials_without_a_cloud(home):
    tune = ("--tune", "alpha=double:log:0.01:30", "--trials", "2", "--parallel", "2", "--metric", "final_regret")
    result = call("launch", "local", *QUICK, *tune, "--then-train", "--final", "seeds=3", "--name", "mine")
    assert result.status == 0, result
    launch = home / "launches/mine"
    found = read(launch / "result.json")
    values = {n: read(launch / f"hptuning/{n}/model/summary.json")["final"]["regret"]["mean"] for n in "12"}
    assert found["trial"] == min(values, key=values.get)
    assert found == read(launch / "hptuning/result.json")
    trained = read_config(str(launch / "final/model/config.json"))
    assert (trained.agent_settings["alpha"], trained.seeds) == (found["parameters"]["alpha"], 3)
    assert (launch / "trials.png").exists()
    assert "2 of 2 trials; best final_regret" in result.err
    assert "linucb" in result.out
    logs = call("launch", "logs", "--trial", "1").out
    assert logs == (launch / "hptuning/1/log.txt").read_text()
    best = call("launch", "best", "--then-train", "--detach")
    assert_refused(best, "detach is given for a launch on this machine")


def test_ctrl_c_ends_the_trials_which_go_on_where_they_stopped(home):
    training = (*LONG, "--training-loops", "300", "--checkpoint-every", "20")  # of 150,000 rounds each 10,000
    study = ("--tune", "alpha=double:1:2", "--trials", "1", "--parallel", "1", "--name", "mine")
    trial = home / "launches/mine/hptuning/1"
    process = start("launch", "local", *training, *study, cwd=home)
    try:
        wait_until(lambda: max(Checkpoints(trial / "checkpoints").rounds(), default=0) >= 10_000, timeout=100)
        process.send_signal(signal.SIGINT)
        stopped = end(process)
    finally:
        process.kill()
    assert stopped.status == 130, stopped
    assert "interrupted; go on with: jaxbandit launch resume launches/mine" in stopped.err
    last = (trial / "log.txt").read_text().splitlines()[-1]
    assert last.endswith("go on with: start the same again")  # it was asked to stop, and has saved its state
    result = call("launch", "resume")
    assert result.status == 0, result
    assert (trial / "model/summary.json").exists()
    again = (trial / "log.txt").read_text().partition("go on with")[2].splitlines()
    first = next(line for line in again if line.startswith("simulating"))
    assert int(first.partition("%")[0].split()[-1]) > 0, again
    assert [row["state"] for row in rows(home / "launches/mine/trials.csv")] == ["SUCCEEDED"]


class Failing(LocalRunner):
    """Lets every training but the first one of a launch fail."""

    def _run(self, args, output, own):
        output.mkdir(parents=True)
        (output / "metrics.jsonl").write_text('{"final_average_return": "2.0"}\n')
        return "" if output.name == "1" else f"exit status 2: {args[-1]}"


@pytest.mark.parametrize(("bound", "state", "run"), [(2, "failed", 3), (4, "succeeded", 4)])
def test_so_many_failed_trials_end_a_study_on_this_machine(home, bound, state, run):
    study = Study(read_parameters(["seeds=int:1:8"]), trials=4, parallel=1, max_failed=bound, algorithm="grid")
    with Failing(prepare.tuning(("--env", "wheel"), None, study)) as runner:
        runner.start("hptuning")
        *_, ended = runner.statuses("hptuning")
    assert ended.state == state
    why = "2 trials have failed, the first one: exit status 2: --seeds=2"
    assert ended.reason == (why if state == "failed" else "")
    assert [trial.state for trial in ended.trials[:run]] == ["SUCCEEDED", *["INFEASIBLE"] * (run - 1)]
    assert ended.trials[0].value == 2.0
    assert {trial.state for trial in ended.trials[run:]} <= {"REQUESTED"}


def test_a_final_training_that_fails_says_why(home):
    study = Study(read_parameters(["seeds=int:1:8"]))
    with Failing(prepare.tuning(("--env", "wheel"), None, study, ["seeds=3"])) as runner:
        runner.start("final")
        *_, ended = runner.statuses("final")
    assert (ended.state, ended.reason) == ("failed", "exit status 2: --seeds=3")


def test_data_are_found_from_any_directory_and_the_final_training_reads_the_same(home):
    write_ratings(home / "r.csv")
    flags = ("--ratings", "r.csv", "--rank-k", "2", "--num-actions", "4", "--batch-size", "8", "--seeds", "1")
    flags += ("--training-loops", "2", "--steps-per-loop", "2")
    study = ("--tune", "alpha=1,2", "--trials", "1", "--parallel", "1", "--name", "mine")
    assert call("launch", "local", *flags, *study).status == 0
    asked = read(home / "launches/mine/launch.json")
    assert asked["args"][-1] == f"--ratings={home / 'r.csv'}"
    assert list(read(home / "launches/mine/result.json")["config"]["fingerprints"]) == [str(home / "r.csv")]
    write_ratings(home / "r.csv", users=9)
    result = call("launch", "best", "launches/mine", "--then-train")
    assert result.status == 1
    assert f"'{home / 'r.csv'}' has changed" in result.err
