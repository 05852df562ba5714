"""What a launch notes, asks for and creates, step by step, with a service that is a few dictionaries."""

import json
import threading
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest

from jaxbandit._core import sealed
from jaxbandit._core.errors import Failure, InputError
from jaxbandit.cli import prepare
from jaxbandit.vertex import answers, cloud_runner, launch, state
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.cloud_file import changed
from jaxbandit.vertex.local_runner import LocalRunner
from jaxbandit.vertex.rules import checked
from jaxbandit.vertex.study import Study, read_parameters
from tests.command_line import assert_refused, call, reseal
from tests.vertex.fake import FakeVertex

CLOUD = checked(Cloud("lab-project", "us-central1", "gs://lab", "lab/j:1", "cpu-8", price=1.0))
WHEEL = ("--env", "wheel", "--seeds", "2")
TUNE = ["alpha=double:0.5:2"]


@pytest.fixture
def fake(monkeypatch, tmp_path):
    fake = FakeVertex()
    monkeypatch.setattr(cloud_runner, "Vertex", lambda project, region: fake)
    monkeypatch.setattr(launch, "show_results", lambda directory: None)
    monkeypatch.chdir(tmp_path)
    return fake


def search(*tune):
    return Study(read_parameters(tune), trials=2, parallel=1)


def study(final=None):
    return prepare.tuning(WHEEL, CLOUD, search(*TUNE), final)


def stages(fake) -> list[str]:
    return [body["labels"]["jaxbandit-stage"] for body in fake.jobs.values()]


def test_a_launch_keeps_its_name_wherever_its_directory_is(fake, tmp_path, monkeypatch):
    fake.faults = [(Failure("no answer"), True)]
    with pytest.raises(Failure, match="finds out"):
        launch.start(prepare.training(WHEEL, CLOUD, "mine"))
    Path("launches/mine").rename("elsewhere")
    monkeypatch.chdir("elsewhere")
    launch.go_on(state.read_launch("."))
    assert len(fake.jobs) == 1
    assert (tmp_path / "elsewhere/train/summary.json").exists()


def test_a_job_that_was_not_created_is_created_by_resume(fake):
    fake.faults = [(Failure("no answer"), False)]
    with pytest.raises(Failure):
        launch.start(prepare.training(WHEEL, CLOUD))
    assert not fake.jobs
    launch.go_on(state.read_launch(None))
    assert stages(fake) == ["train"]


def test_two_processes_on_one_launch_create_each_job_once(fake):
    launch.start(study(final=[]), detach=True)
    both = [state.read_launch(None), state.read_launch(None)]
    gate, create = threading.Barrier(2), fake.create

    def slowly(kind, body):
        threading.Event().wait(0.2)
        return create(kind, body)

    fake.create = slowly

    def go_on(one):
        gate.wait()
        launch.go_on(one)

    threads = [threading.Thread(target=go_on, args=(one,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert stages(fake) == ["hptuning", "final"]


def test_of_two_launches_of_one_name_one_is_refused_also_from_elsewhere(fake, tmp_path, monkeypatch):
    first, second = (prepare.training(WHEEL, CLOUD) for _ in range(2))
    launch.start(first, detach=True)
    with pytest.raises(InputError, match="holds this launch already"):
        launch.start(second)
    with pytest.raises(InputError, match="holds another launch"):
        prepare.training((*WHEEL, "--alpha", "3"), CLOUD, first.name)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    fake.objects = {name: data for name, data in fake.objects.items() if name.endswith("launch.json")}  # still queued
    with pytest.raises(InputError, match="is that of another launch"):
        launch.start(prepare.training(WHEEL, CLOUD))
    assert len(fake.jobs) == 1
    assert not list(Path("launches").iterdir())


def test_of_two_machines_that_go_on_with_a_launch_one_asks_for_its_job(fake, tmp_path, monkeypatch):
    launch.start(study(final=["seeds=3"]), detach=True)
    name = state.read_launch(None).name
    create = fake.create

    def meanwhile(kind, body):
        """Let another machine come between the request and its answer."""
        monkeypatch.setattr("jaxbandit.vertex.elsewhere.Buckets", lambda project: fake)
        (tmp_path / "other").mkdir()
        with chdir(tmp_path / "other"):
            refused = call("launch", "resume", f"gs://lab/{name}")
        assert (refused.status, "another machine asks for the job of final" in refused.err) == (1, True), refused
        return create(kind, body)

    fake.create = meanwhile
    launch.go_on(state.read_launch(None))
    assert stages(fake) == ["hptuning", "final"]
    with chdir(tmp_path / "other"):  # the other machine, now that there is an answer
        assert call("launch", "resume").status == 0
    assert len(fake.jobs) == 2


def test_a_refused_launch_leaves_its_name_to_the_next(fake):
    fake.faults = [(InputError("quota is exhausted"), False)]
    with pytest.raises(InputError, match="quota"):
        launch.start(prepare.training(WHEEL, CLOUD))
    assert not fake.objects
    assert not list(Path("launches").iterdir())
    launch.start(prepare.training(WHEEL, CLOUD))
    assert stages(fake) == ["train"]


def test_a_refused_final_training_is_asked_for_again_by_resume(fake):
    launch.start(study(final=["seeds=3"]), detach=True)
    fake.faults = [(InputError("quota is exhausted"), False)]
    with pytest.raises(InputError, match="quota"):
        launch.go_on(state.read_launch(None))
    assert state.read_launch(None).jobs.keys() == {"hptuning"}
    launch.go_on(state.read_launch(None))
    assert stages(fake) == ["hptuning", "final"]


def test_the_best_values_can_be_trained_with_later_on_another_machine(fake, capsys):
    launch.start(study())
    result = call("launch", "best", "--then-train", "--final", "seeds=3", "--machine", "l4x1", "--detach")
    assert result.status == 0, result
    assert stages(fake) == ["hptuning", "final"]
    assert "final: 1 x g2-standard-12 with 1 NVIDIA_L4" in result.err
    assert "--price PER-HOUR" in result.err  # that of the other machine is not known
    final = list(fake.jobs.values())[1]["jobSpec"]
    assert final["workerPoolSpecs"][0]["machineSpec"]["machineType"] == "g2-standard-12"
    name = state.read_launch(None).name
    uri = f"gs://lab/{name}/hptuning/result.json"
    assert final["workerPoolSpecs"][0]["containerSpec"]["args"] == ["run", f"--config={uri}", "--seeds=3"]
    assert json.loads(fake.objects[uri])["config"]["alpha"] == 1.5
    assert call("launch", "resume").status == 0
    assert len(fake.jobs) == 2
    assert_refused(call("launch", "best", "--then-train", "--final", "seeds=4"), "has a final training already")


def fail_last(fake, state="JOB_STATE_FAILED"):
    """Let every job look like this from now on but the first of a study."""
    get = type(fake).get
    last = list(fake.jobs)[-1]
    fake.get = lambda name: get(fake, name) | ({"state": state} if name == last else {})


def test_a_failed_final_training_has_another_job_on_another_machine(fake, tmp_path, monkeypatch):
    launch.start(study(final=["seeds=3"]), detach=True)
    launch.go_on(state.read_launch(None), detach=True)
    assert stages(fake) == ["hptuning", "final"]
    fail_last(fake)
    with pytest.raises(Failure, match=r"final has ended: failed: .*: its last line; .*--again"):
        launch.go_on(state.read_launch(None))
    assert_refused(call("launch", "resume", "--machine", "l4x1"), "machine is given without again")
    assert_refused(call("launch", "resume", "--again", "--machine", "h100x1"), "scheduling is standard of h100x1")
    (home,) = Path("launches").iterdir()
    monkeypatch.chdir(tmp_path / home)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr("jaxbandit.vertex.elsewhere.Buckets", lambda project: fake)
    again = call("launch", "resume", f"gs://lab/{home.name}", "--again", "--machine", "l4x1", "--detach")
    assert again.status == 0, again
    assert "final: 1 x g2-standard-12 with 1 NVIDIA_L4" in again.err
    assert stages(fake) == ["hptuning", "final", "final"]
    final = list(fake.jobs.values())[-1]
    assert final["labels"]["jaxbandit-try"] == "2"
    assert final["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] == "g2-standard-12"
    monkeypatch.chdir(tmp_path)  # whose file knows of one try
    launch.go_on(state.read_launch(None))
    assert len(fake.jobs) == 3
    assert state.read_launch(None).tries == {"final": 2}


def test_the_answer_to_another_try_may_be_lost_too(fake):
    launch.start(prepare.training(WHEEL, CLOUD), detach=True)
    fail_last(fake)
    fake.faults = [(Failure("no answer"), True)]
    assert call("launch", "resume", "--again", "--detach").status == 1
    assert call("launch", "resume", "--detach").status == 0
    assert len(fake.jobs) == 2
    assert state.read_launch(None).jobs["train"].endswith("/1")


def test_a_study_is_not_begun_anew_by_again(fake):
    launch.start(study(), detach=True)
    fake.state = "JOB_STATE_CANCELLED"
    assert_refused(call("launch", "resume", "--again"), "again is given for a study", "--then-train")
    fake.state = "JOB_STATE_RUNNING"
    assert_refused(call("launch", "resume", "--again"), "hptuning is: running")


def test_a_launch_in_the_bucket_is_read_from_another_machine(fake, tmp_path, monkeypatch):
    launch.start(study())
    name = state.read_launch(None).name
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setattr("jaxbandit.vertex.elsewhere.Buckets", lambda project: fake)
    best = call("launch", "best", f"gs://lab/{name}/")
    assert json.loads(best.out)["parameters"] == {"alpha": 1.5}
    assert call("launch", "logs", f"gs://lab/{name}").out == "projects/1/locations/r/hyperparameterTuningJobs/0\n"
    assert state.read_launch(None).directory == Path("launches") / name
    assert_refused(call("launch", "logs", "gs://lab/nobodys"), "gs://lab/nobodys/launch.json")
    fake.objects["gs://lab/bad/launch.json"] = b'{"id": "1"}'
    assert_refused(call("launch", "logs", "gs://lab/bad"), "gs://lab/bad/launch.json", "its digest is another")
    fake.objects["gs://lab/bad/launch.json"] = sealed.sealed({"id": "1"})
    assert_refused(call("launch", "logs", "gs://lab/bad"), "holds no launch")
    other = replace(state.read_launch(None), identity="00000000")
    fake.objects[f"gs://lab/else/{name}/launch.json"] = other.sealed
    assert_refused(call("launch", "logs", f"gs://lab/else/{name}"), "holds another launch than gs://lab/else")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--env", "mf", "--batch-size", "1000"), "batch_size is 1000, and synth-100k has 943 users"),
        (("--ratings", "synth-1m", "--num-actions", "4000"), "num_actions is 4000, and synth-1m has 3,800 items"),
    ],
)
def test_batch_and_arms_are_held_against_data_sets_with_names(flags, words, fake):
    with pytest.raises(InputError, match=words):
        prepare.training(flags, CLOUD)
    with pytest.raises(InputError, match=words):
        prepare.tuning(flags, None, search(*TUNE))
    assert prepare.training(("--env", "mf-per-arm", "--batch-size", "1000"), CLOUD)


def test_a_data_set_with_a_name_goes_into_the_bucket_once(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    ratings = ("--ratings", "ml-1m", "--env", "mf")
    with pytest.raises(InputError, match=r"neither in gs://lab/_data nor on this machine; .* data fetch ml-1m"):
        launch.start(prepare.training(ratings, CLOUD))
    assert not fake.jobs
    assert not fake.objects
    (tmp_path / "cache/movielens").mkdir(parents=True)
    (tmp_path / "cache/movielens/ml-1m.zip").write_bytes(b"zip")
    launch.start(prepare.training(ratings, CLOUD), detach=True)
    assert fake.objects["gs://lab/_data/ml-1m.zip"] == b"zip"
    (tmp_path / "cache/movielens/ml-1m.zip").unlink()
    tuned = search("ratings=categorical:ml-1m,synth-1m")
    launch.start(prepare.tuning(("--env", "mf"), CLOUD, tuned), detach=True)
    assert len(fake.jobs) == 2


def test_a_study_that_was_cancelled_can_be_trained_from(fake):
    launch.start(study(), detach=True)
    fake.state = "JOB_STATE_CANCELLED"
    with pytest.raises(Failure, match="hptuning has ended: cancelled"):
        launch.go_on(state.read_launch(None))
    launch.go_on(prepare.then_train(state.read_launch(None), [], None), detach=True, partial=True)
    assert stages(fake) == ["hptuning", "final"]


def test_cancel_finds_a_job_whose_answer_was_lost_and_creates_none(fake):
    fake.state = "JOB_STATE_RUNNING"
    fake.faults = [(Failure("no answer"), True)]
    with pytest.raises(Failure):
        launch.start(prepare.training(WHEEL, CLOUD))
    cloud_runner.cancel(state.read_launch(None))
    assert fake.cancelled == list(fake.jobs)
    fake.jobs.clear()
    state.read_launch(None).with_job("train", "")
    with pytest.raises(InputError, match="has no job; allowed: `jaxbandit launch resume"):
        cloud_runner.cancel(state.read_launch(None))
    assert not fake.jobs


def test_what_goes_wrong_while_waiting_says_that_the_job_goes_on(fake):
    launch.start(prepare.training(WHEEL, CLOUD), detach=True)

    def expired(name):
        raise InputError("no credentials of Google Cloud")

    fake.get = expired
    with pytest.raises(Failure, match=r"no credentials.*the job goes on: jaxbandit launch resume"):
        launch.go_on(state.read_launch(None))


def test_flags_that_are_no_part_of_a_config_reach_the_final_training(fake):
    asked = prepare.tuning((*WHEEL, "--log-interactions"), CLOUD, search(*TUNE), ["seeds=3"])
    args = cloud_runner.request(asked, "final")["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
    assert args[2:] == ["--log-interactions=true", "--seeds=3"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "is no JSON object"),
        ("changed", "is damaged or was changed"),
        ({"jobs": []}, "holds no launch (jobs is [])"),
        ({"jobs": {"train": 3}}, "jobs.train is 3"),
        ({"args": "abc"}, "args is 'abc'"),
        ({"study": {"parameters": [], "trials": "4"}}, "study: "),
        ({"cloud": {"project": "lab-project"}}, "region is missing"),
    ],
)
def test_a_damaged_file_is_refused(content, words, fake):
    asked = prepare.training(WHEEL, CLOUD, "mine")
    asked.begin()
    path = Path("launches/mine/launch.json")
    if isinstance(content, dict):
        reseal(path, **content)
    else:
        path.write_text(path.read_text().replace('"mine"', '"nine"') if content == "changed" else content)
    for command in ("wait", "resume", "cancel"):
        assert_refused(call("launch", command, "launches/mine"), words)


@pytest.mark.parametrize(
    ("tune", "final", "words"),
    [
        (["agent=categorical:linucb,zzz"], None, "unknown agent 'zzz'"),
        (["out=categorical:a,b"], None, "out is given, which the launcher decides"),
        (["env=categorical:wheel,mf", "ratings=categorical:a.csv,b.csv"], None, "tune"),
        (TUNE, ["ratings=here.csv"], "final: with"),
        (["agent=categorical:linucb,lints"], ["sampling=theta"], "unknown flag '--sampling'"),
        (["agent=categorical:lints,linucb"], ["sampling=theta"], "unknown flag '--sampling'"),
    ],
)
def test_what_trials_or_the_final_training_would_refuse_is_refused_first(tune, final, words, fake):
    with pytest.raises(InputError) as refused:
        prepare.tuning(WHEEL, CLOUD, search(*tune), final)
    assert words in str(refused.value)


def test_every_value_of_many_parameters_is_tried():
    ranges = [f"p{i}=double:0:1" for i in range(12)]
    corners = search("agent=categorical:a,b", *ranges).corners()
    assert {corner["agent"] for corner in corners} == {"a", "b"}
    assert len(corners) < 300


@pytest.mark.parametrize("data", ["missing.csv", "here/rows.csv"])
def test_data_of_this_machine_are_refused_also_in_a_sweep(data, fake):
    with pytest.raises(InputError, match=r"data is .* which the container does not have"):
        prepare.training(("--env", "classification", "--data", data), CLOUD)
    with pytest.raises(InputError, match=r"data is .* which the container does not have"):
        prepare.sweeping(("--env", "classification", "--grid", f"data=digits,{data}"), CLOUD)


def test_a_config_is_spelled_out_since_the_container_has_no_such_file(fake, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"env": "wheel", "agent": "lints", "alpha": 3.0}))
    asked = prepare.training(("--config", "other.json", "--config", str(path), "--seeds", "3"), CLOUD)
    assert not any("json" in arg for arg in asked.args)
    assert {"--agent=lints", "--alpha=3.0"} <= set(asked.args)
    assert asked.args[-2:] == ("--seeds", "3")


@pytest.mark.parametrize("poll", ["0", "-1", "nan", "inf"])
def test_a_poll_that_is_no_time_is_refused(poll, fake):
    where = [f"--{name}={getattr(CLOUD, name)}" for name in ("project", "region", "bucket", "image", "machine")]
    assert_refused(call("launch", "train", *where, *WHEEL, "--poll", poll), "poll is", "> 0")
    assert not fake.jobs


def test_an_answer_that_is_no_refusal_is_no_bad_input():
    exceptions = pytest.importorskip("google.api_core.exceptions")
    requests = pytest.importorskip("requests")
    for error in (
        exceptions.Aborted("x"),
        exceptions.Cancelled("x"),
        requests.ReadTimeout("x"),
        exceptions.Unknown("x"),
    ):
        with pytest.raises(Failure), answers.translated("it"):
            raise error
    for error in (exceptions.InvalidArgument("x"), exceptions.PermissionDenied("x"), exceptions.ResourceExhausted("x")):
        with pytest.raises(InputError), answers.translated("it"):
            raise error


def test_another_machine_has_another_price():
    assert changed(CLOUD, {"machine": "cpu-16"}).price is None
    assert changed(CLOUD, {"machine": "cpu-16", "price": 2.0}).price == 2.0
    assert changed(CLOUD, {"timeout": "1h"}).price == 1.0


def test_a_job_on_this_machine_that_breaks_has_failed_and_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = prepare.tuning(WHEEL, None, search(*TUNE))
    asked = replace(asked, directory=tmp_path / "file" / "below")
    (tmp_path / "file").write_text("")
    with LocalRunner(asked) as runner:
        runner.start("hptuning")
        *_, ended = runner.statuses("hptuning")
    assert ended.state == "failed"
    assert "NotADirectoryError" in ended.reason
