"""What `launch doctor` sees of a project, and what it says to do, on local servers of Google's services."""

import pytest

from tests.vertex.laptop import BUCKET, assert_last_line

pytest.importorskip("google.cloud.aiplatform_v1")

ACCOUNT = "trainer@test-project.iam.gserviceaccount.com"
IMAGE = "projects/lab/locations/us-central1/repositories/bandits/packages/jaxbandit/tags/0123abc-cpu"


@pytest.fixture
def control(laptop):
    """A project in which all is as it should be, in the same process as the launcher."""
    control = laptop.server.control
    before = {name: value.copy() for name, value in vars(control).items() if isinstance(value, set | dict)}
    names = ("aiplatform", "storage", "artifactregistry", "cloudbuild", "logging")
    control.services |= {f"{name}.googleapis.com" for name in names}
    control.images.add(IMAGE)
    control.permissions |= {f"aiplatform.{kind}.create" for kind in ("customJobs", "hyperparameterTuningJobs")}
    control.accounts[ACCOUNT] = True
    for role in ("roles/storage.objectAdmin", "roles/aiplatform.user"):
        control.bindings[role] = [f"serviceAccount:{ACCOUNT}"]
    control.limits["aiplatform.googleapis.com/custom_model_training_cpus"] = 16
    yield control
    for name, value in before.items():
        getattr(control, name).clear()
        getattr(control, name).update(value)


def doctor(laptop, *flags):
    where = [flag for flag in laptop.cloud() if not flag.startswith("--poll")]
    return laptop("doctor", *where, "--service-account", ACCOUNT, "--experiment", "runs", *flags)


def test_all_is_there(laptop, control):
    result = doctor(laptop, "--parallel", "4")
    assert result.status == 0, result
    assert all(line.startswith("ok  ") for line in result.out.splitlines()), result.out
    assert "quota of aiplatform.googleapis.com/custom_model_training_cpus in us-central1: 16, 16 needed" in result.out
    assert not laptop.jobs


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda c: c.services.discard("aiplatform.googleapis.com"),
            "no  API aiplatform.googleapis.com: is not enabled; gcloud services enable aiplatform.googleapis.com "
            "--project=test-project",
        ),
        (
            lambda c: c.images.clear(),
            "no  image us-central1-docker.pkg.dev/lab/bandits/jaxbandit:0123abc-cpu: is not there; "
            "scripts/build_image.sh --image us-central1-docker.pkg.dev/lab/bandits/jaxbandit --accel cpu",
        ),
        (
            lambda c: c.permissions.clear(),
            "no  you may create jobs: not so; gcloud projects add-iam-policy-binding test-project --member=user:YOU "
            "--role=roles/aiplatform.user",
        ),
        (
            lambda c: c.accounts.clear(),
            f"no  service account {ACCOUNT}: is not there; gcloud iam service-accounts create trainer "
            "--project=test-project",
        ),
        (
            lambda c: c.accounts.update({ACCOUNT: False}),
            f"no  you may not use service account {ACCOUNT}; gcloud iam service-accounts add-iam-policy-binding "
            f"{ACCOUNT} --member=user:YOU --role=roles/iam.serviceAccountUser",
        ),
        (
            lambda c: c.bindings.pop("roles/aiplatform.user"),
            f"no  service account {ACCOUNT} has no role of the project for experiments; gcloud projects "
            f"add-iam-policy-binding test-project --member=serviceAccount:{ACCOUNT} --role=roles/aiplatform.user",
        ),
        (
            lambda c: c.limits.clear(),
            "no  quota of aiplatform.googleapis.com/custom_model_training_cpus in us-central1: 0, 4 needed; ask for "
            "more at https://console.cloud.google.com/iam-admin/quotas?project=test-project",
        ),
    ],
)
def test_what_is_missing_is_a_line_that_ends_with_what_mends_it(spoil, line, laptop, control):
    spoil(control)
    result = doctor(laptop)
    assert_last_line(result, 1, "1 thing is missing")
    assert [found for found in result.out.splitlines() if not found.startswith("ok")] == [line]


@pytest.mark.parametrize(("kind", "lines"), [("enabled", 5), ("limit", 1), ("image", 1), ("policy", 1), ("account", 1)])
def test_what_one_may_not_see_is_not_known_and_no_failure(kind, lines, laptop, control):
    control.refused.add(kind)
    result = doctor(laptop)
    assert result.status == 0, result
    unknown = [line for line in result.out.splitlines() if line.startswith("?   ")]
    assert len(unknown) == lines
    assert all("not known: Permission denied" in line for line in unknown)


def test_a_bucket_that_is_elsewhere_or_closed(laptop, control):
    result = doctor(laptop, "--bucket", "gs://far/x")
    assert "no  bucket is 'gs://far/x', which lies in EUROPE-WEST4" in result.out
    assert "gcloud storage buckets create gs://far --location=us-central1" in result.out
    with laptop.server.hiding(BUCKET):
        closed = doctor(laptop)
    assert f"no  bucket gs://{BUCKET} in us-central1: you lack storage.objects.create" in closed.out
    assert f"--member=serviceAccount:{ACCOUNT} --role=roles/storage.objectAdmin" in closed.out


def test_an_image_by_its_digest(laptop, control):
    digest = f"sha256:{'0' * 64}"
    flags = ("--image", f"us-central1-docker.pkg.dev/lab/bandits/deep/jaxbandit@{digest}")
    assert "is not there" in doctor(laptop, *flags).out
    place = IMAGE.partition("/packages/")[0]
    control.images.add(f"{place}/packages/deep%2Fjaxbandit/versions/{digest}")
    assert doctor(laptop, *flags).status == 0


def test_setup_prints_commands_from_an_empty_project_to_the_first_job_and_asks_nothing(laptop, monkeypatch):
    monkeypatch.setattr("jaxbandit.vertex.doctor.Control", None)
    result = doctor(laptop, "--setup")
    assert result.status == 0, result
    lines = result.out.splitlines()
    assert lines[0].startswith("gcloud auth login")
    assert f"gcloud storage buckets create gs://{BUCKET} --location=us-central1 --project=test-project" in lines
    assert any("artifacts repositories create bandits --repository-format=docker" in line for line in lines)
    assert "gcloud iam service-accounts create trainer --project=test-project" in lines
    assert lines[-3].startswith(
        "scripts/build_image.sh --image us-central1-docker.pkg.dev/lab/bandits/jaxbandit --accel"
    )
    assert lines[-1].startswith("jaxbandit launch train")
