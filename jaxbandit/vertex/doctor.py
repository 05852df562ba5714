"""Whether a job could run: services, bucket, image, roles, quota, each with the command that mends it. Creates nothing.

Roles, which may change: https://docs.cloud.google.com/vertex-ai/docs/general/custom-service-account
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

from jaxbandit._core.errors import InputError
from jaxbandit.vertex import requests
from jaxbandit.vertex.buckets import Buckets
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.control import Control, Refused
from jaxbandit.vertex.rules import ACCELS

SERVICES = ("aiplatform", "storage", "artifactregistry", "cloudbuild", "logging")
CREATE = ["aiplatform.customJobs.create", "aiplatform.hyperparameterTuningJobs.create"]
OBJECTS = ["storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list"]
# what the service account needs -> roles that hold it, the least of them first
ROLES = {
    "buckets": ("roles/storage.objectAdmin", "roles/storage.admin", "roles/owner"),
    "experiments": ("roles/aiplatform.user", "roles/aiplatform.admin", "roles/editor", "roles/owner"),
}
ASKED = ("cloudresourcemanager", "iam")  # that answer this module
QUOTAS = "https://console.cloud.google.com/iam-admin/quotas?project="


class Finding(NamedTuple):
    """What one look has found."""

    state: Literal["ok", "no", "?"]
    text: str
    mend: str = ""  # a command, or where a person goes

    def __str__(self) -> str:
        """One line."""
        return f"{self.state:<3} {self.text}" + (f"; {self.mend}" if self.mend and self.state != "ok" else "")


def look(cloud: Cloud, parallel: int = 1) -> Iterator[Finding]:
    """Look at all that so many jobs side by side need, one thing after the other.

    Raises:
        InputError: the SDK or credentials are missing.
        Failure: a service does not answer.
    """
    control = Control(cloud.project)
    for service in SERVICES:
        name = f"{service}.googleapis.com"
        enable = f"gcloud services enable {name} --project={cloud.project}"
        yield _found(f"API {name}", partial(control.is_enabled, name), "is not enabled", enable)
    yield from _bucket(cloud)
    yield _image(cloud, control)
    grant = f"gcloud projects add-iam-policy-binding {cloud.project} --member=user:YOU --role=roles/aiplatform.user"
    yield _found("you may create jobs", lambda: control.may(CREATE) == set(CREATE), "not so", grant)
    if cloud.service_account:
        yield from _account(cloud, control)
    for metric, amount in requests.quota(cloud, parallel).items():
        yield _quota(cloud, control, metric, amount)


def _found(what: str, ask: Callable[[], bool], wrong: str, mend: str) -> Finding:
    try:
        return Finding("ok", what) if ask() else Finding("no", f"{what}: {wrong}", mend)
    except Refused as error:
        return Finding("?", f"{what}: not known: {error}", mend)


def _bucket(cloud: Cloud) -> Iterator[Finding]:
    name = cloud.bucket.removeprefix("gs://").partition("/")[0]
    make = f"gcloud storage buckets create gs://{name} --location={cloud.region} --project={cloud.project}"
    buckets = Buckets(cloud.project, cloud.region)
    try:
        buckets.check_bucket(cloud.bucket)
        missing = [one for one in OBJECTS if one not in buckets.permissions(cloud.bucket, OBJECTS)]
    except InputError as error:
        yield Finding("no", str(error), make)
        return
    member = f"serviceAccount:{cloud.service_account}" if cloud.service_account else "user:YOU"
    grant = f"gcloud storage buckets add-iam-policy-binding gs://{name} --member={member} --role={ROLES['buckets'][0]}"
    text = f"bucket gs://{name} in {cloud.region}"
    yield Finding("no", f"{text}: you lack {', '.join(missing)}", grant) if missing else Finding("ok", text)


def _image(cloud: Cloud, control: Control) -> Finding:
    text = f"image {cloud.image}"
    if ".pkg.dev/" not in cloud.image or cloud.image.count("/") < 3:
        return Finding("?", f"{text}: not in Artifact Registry, so not looked for")
    return _found(text, lambda: control.has_image(cloud.image), "is not there", build_command(cloud))


def build_command(cloud: Cloud) -> str:
    """The command that builds an image for the machine, under the name without its tag."""
    path, _, name = cloud.image.partition("@")[0].rpartition("/")
    return f"scripts/build_image.sh --image {path}/{name.partition(':')[0]} --accel {_accel(cloud)}"


def _accel(cloud: Cloud) -> str:
    allowed = ACCELS[cloud.chosen_machine.platform]
    tag = cloud.image.removesuffix("-dirty").rpartition("-")[2]
    return tag if tag in allowed else allowed[0]


def _account(cloud: Cloud, control: Control) -> Iterator[Finding]:
    account, text = cloud.service_account, f"service account {cloud.service_account}"
    name, _, home = account.partition("@")
    try:
        may = control.may_act_as(account)
        roles = control.roles(account) if may is not None else set()
    except Refused as error:
        yield Finding("?", f"{text}: not known: {error}")
        return
    if may is None:
        project = home.partition(".")[0]
        yield Finding("no", f"{text}: is not there", f"gcloud iam service-accounts create {name} --project={project}")
        return
    use = f"gcloud iam service-accounts add-iam-policy-binding {account} --member=user:YOU"
    use += " --role=roles/iam.serviceAccountUser"
    yield Finding("ok", f"you may use {text}") if may else Finding("no", f"you may not use {text}", use)
    needed = ["buckets", *(["experiments"] if cloud.experiment or cloud.tensorboard else [])]
    for what in needed:
        grant = f"gcloud projects add-iam-policy-binding {cloud.project} --member=serviceAccount:{account}"
        grant = f"{grant} --role={ROLES[what][0]}"
        if roles & set(ROLES[what]):
            yield Finding("ok", f"{text} has a role for {what}")
        else:
            yield Finding("no", f"{text} has no role of the project for {what}", grant)


def _quota(cloud: Cloud, control: Control, metric: str, amount: int) -> Finding:
    name = f"{metric} in {cloud.region}"
    try:
        limit = control.limit(metric, cloud.region)
    except Refused as error:
        return Finding("?", f"quota of {name}: not known: {error}", f"{QUOTAS}{cloud.project}")
    if limit is None:
        return Finding("?", f"quota of {name}: no number is given, {amount} needed", f"{QUOTAS}{cloud.project}")
    text = f"quota of {name}: {limit}, {amount} needed"
    return Finding("ok" if limit >= amount else "no", text, f"ask for more at {QUOTAS}{cloud.project}")


def setup(cloud: Cloud, file: str | None) -> list[str]:
    """All commands from an empty project to the first job."""
    project, name = cloud.project, cloud.bucket.removeprefix("gs://").partition("/")[0]
    services = " ".join(f"{service}.googleapis.com" for service in (*SERVICES, *ASKED))
    lines = [
        "gcloud auth login && gcloud auth application-default login",
        f"gcloud projects create {project}  # unless there is one; it needs a billing account",
        f"gcloud services enable {services} --project={project}",
        f"gcloud storage buckets create gs://{name} --location={cloud.region} --project={project}",
    ]
    if ".pkg.dev/" in cloud.image and cloud.image.count("/") >= 3:
        host, owner, repository, _ = cloud.image.split("/", 3)
        lines.append(
            f"gcloud artifacts repositories create {repository} --repository-format=docker "
            f"--location={host.removesuffix('-docker.pkg.dev')} --project={owner}"
        )
    if account := cloud.service_account:
        grant = f"gcloud projects add-iam-policy-binding {project} --member=serviceAccount:{account}"
        lines.append(f"gcloud iam service-accounts create {account.partition('@')[0]} --project={project}")
        lines += [f"{grant} --role={roles[0]}" for roles in ROLES.values()]
    where = f"--cloud {file}" if file else "--cloud FILE"
    return [
        *lines,
        f"{build_command(cloud)}  # its last line is the image",
        f"jaxbandit launch doctor {where}",
        f"jaxbandit launch train {where} --env wheel",
    ]
