"""Vertex Experiments: the settings and final numbers of a job, by the real SDK against the local server."""

import json
import sys
from types import SimpleNamespace

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit._core.signals import Interrupted
from jaxbandit.vertex.trainer import experiments
from tests.command_line import SMALL, Result, assert_refused, call, end, start

NAMES = {"JAXBANDIT_EXPERIMENT": "wheels", "JAXBANDIT_EXPERIMENT_RUN": "first", "JAXBANDIT_REGION": "us-central1"}
FINAL = {"average_return": {"mean": 2.5, "stderr": None}, "normalized_regret": {"mean": None, "stderr": None}}
SUMMARY = {"final": FINAL, "interactions_per_second": 10.0}


def run(server, out, *args: object, **names: str) -> Result:
    named = NAMES | {"CLOUD_ML_PROJECT_ID": server.project, "AIP_MODEL_DIR": str(out)} | names
    return end(start("run", *SMALL, *args, **server.variables, **named))


def metadata(server, run: str) -> dict:
    (context,) = (c for name, c in server.contexts.items() if name.endswith(f"/contexts/{run}"))
    return {name: dict(value) if name != "_state" else value for name, value in context.metadata.items()}


def test_a_job_logs_its_settings_and_its_final_numbers_and_one_started_again_goes_on_with_them(
    server, tmp_path
) -> None:
    server.fail_next("UpdateContext", "UNAVAILABLE", "try again")
    done = run(server, tmp_path / "out", CLOUD_ML_TRIAL_ID="3", CLOUD_ML_HP_METRIC_FILE=str(tmp_path / "metric"))
    assert done.status == 0, done
    logged = metadata(server, "wheels-first-3")
    assert logged["_state"] == "COMPLETE"
    expected = {"agent": "linucb", "env": "wheel", "batch-size": 8.0, "alpha": 1.0, "add-bias": False}
    assert {name: logged["_params"][name] for name in expected} == expected
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    final = {f"final_{name}": estimate["mean"] for name, estimate in summary["final"].items()}
    assert logged["_metrics"] == final | {"interactions_per_second": summary["interactions_per_second"]}
    (child,) = (c for name, c in server.contexts.items() if name.endswith("-3"))
    assert [name.rpartition("/")[2] for name in child.parent_contexts] == ["wheels"]
    known = set(server.contexts)
    again = run(server, tmp_path / "out", CLOUD_ML_TRIAL_ID="3", CLOUD_ML_HP_METRIC_FILE=str(tmp_path / "metric"))
    assert again.status == 0, again
    assert set(server.contexts) == known
    assert metadata(server, "wheels-first-3") == logged


def test_a_refusal_of_the_service_ends_the_job_before_any_work(server, tmp_path) -> None:
    server.fail_next("CreateContext", "PERMISSION_DENIED", "Permission aiplatform.contexts.create denied.")
    refused = run(server, tmp_path / "out", JAXBANDIT_EXPERIMENT="others")
    assert_refused(refused, "JAXBANDIT_EXPERIMENT is 'others'", "Permission aiplatform.contexts.create denied.")
    assert "building" not in refused.err
    assert not (tmp_path / "out").exists()


class Sdk:
    """A stand-in that notes what is called."""

    def __init__(self, refuse: str = "") -> None:
        self.calls, self.refuse = [], refuse
        self.gapic = SimpleNamespace(Execution=SimpleNamespace(State=SimpleNamespace(FAILED="FAILED")))

    def __getattr__(self, name: str):
        def called(*args: object, **named: object) -> None:
            self.calls.append((name, args, named))
            if name == self.refuse:
                raise ValueError("not\nthat")

        return called


@pytest.fixture
def environ() -> dict[str, str]:
    return NAMES | {"CLOUD_ML_PROJECT_ID": "p"}


@pytest.fixture
def sdk(monkeypatch) -> Sdk:
    pytest.importorskip("google.api_core")
    found = Sdk()
    monkeypatch.setattr(experiments, "_sdk", lambda: found)
    return found


def test_a_number_that_is_not_finite_is_left_out(sdk, environ) -> None:
    with experiments.tracked({"alpha": 1.0, "hidden": "64x32"}, environ) as finish:
        finish(SUMMARY)
    assert [name for name, *_ in sdk.calls] == ["init", "start_run", "log_params", "log_metrics", "end_run"]
    assert sdk.calls[2][1] == ({"alpha": 1.0, "hidden": "64x32"},)
    assert sdk.calls[3][1] == ({"final_average_return": 2.5, "interactions_per_second": 10.0},)


def test_final_numbers_that_are_lost_are_told_and_no_failure(sdk, environ, capsys) -> None:
    sdk.refuse = "log_metrics"
    with experiments.tracked({}, environ) as finish:
        finish(SUMMARY)
    assert capsys.readouterr().err == "jaxbandit: warning: Vertex Experiments lacks the final numbers: not that\n"


@pytest.mark.parametrize(("error", "state"), [(InputError, "FAILED"), (Interrupted, None)])
def test_what_fails_is_marked_and_what_is_interrupted_goes_on_later(error, state, sdk, environ) -> None:
    with pytest.raises(error), experiments.tracked({}, environ):
        raise error("no")
    ends = [named for name, _, named in sdk.calls if name == "end_run"]
    assert ends == ([] if state is None else [{"state": state}])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"JAXBANDIT_EXPERIMENT": "My_Wheels"}, ("JAXBANDIT_EXPERIMENT is 'My_Wheels'", "lower-case letters")),
        ({"JAXBANDIT_EXPERIMENT_RUN": ""}, ("JAXBANDIT_EXPERIMENT_RUN is ''", "lower-case letters")),
        ({"JAXBANDIT_EXPERIMENT_RUN": "-a"}, ("JAXBANDIT_EXPERIMENT_RUN is '-a'",)),
        ({"JAXBANDIT_EXPERIMENT_RUN": "a" * 120}, ("120 characters",)),
        ({"JAXBANDIT_REGION": ""}, ("JAXBANDIT_REGION not", "all or none")),
        ({"CLOUD_ML_PROJECT_ID": ""}, ("CLOUD_ML_PROJECT_ID not", "all or none")),
        ({}, ("not installed", "pip install 'jaxbandit[vertex]'")),
    ],
)
def test_what_cannot_be_logged_is_refused_before_any_work(changes, words, environ, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform", None)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    for name, value in (environ | changes).items():
        monkeypatch.setenv(name, value)
    refused = call("run", *SMALL, "--out", tmp_path / "out")
    assert_refused(refused, *words)
    assert "building" not in refused.err
    assert not (tmp_path / "out").exists()


def test_a_sweep_logs_what_its_configurations_share(sdk, environ, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert call("sweep", *SMALL, "--grid", "alpha=1,2", "--out", tmp_path / "out").status == 0
    ((settings,),) = (args for name, args, _ in sdk.calls if name == "log_params")
    assert "alpha" not in settings
    assert {"swept": "alpha", "configurations": 2, "metric": "regret", "env": "wheel"}.items() <= settings.items()
    assert [name for name, *_ in sdk.calls][-2:] == ["log_metrics", "end_run"]
