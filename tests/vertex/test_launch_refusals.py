"""What a launch refuses before anything is created, and what it prints without creating anything."""

import json
import os
import runpy
import subprocess
import sys

import pytest

from tests.command_line import ROOT, Result, assert_refused, call
from tests.vertex.laptop import BUCKET, QUICK, REGION, assert_last_line

QUOTA = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus"


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
def test_the_scripts_ask_for_what_their_flags_say(script, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, "--dry-run"])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    assert done.value.code == 0
    first, *rest = json.loads(capsys.readouterr().out)
    assert first["post"].endswith(kind)
    assert len(rest) == (kind == "hyperparameterTuningJobs")


def test_exhausted_quota_is_told_by_its_name_and_leaves_nothing(laptop):
    laptop.server.fail_next("CreateCustomJob", "RESOURCE_EXHAUSTED", QUOTA)
    result = laptop.ask("train", *QUICK)
    assert result.status == 2
    assert "aiplatform.googleapis.com/custom_model_training_cpus" in result.err.splitlines()[-1]
    assert "--scheduling spot" in result.err.splitlines()[-1]
    assert not laptop.jobs
    assert not list((laptop.directory / "launches").iterdir())
    assert not [path for path in laptop.server.bucket(BUCKET).glob(f"{laptop.directory.name}/**/*") if path.is_file()]
