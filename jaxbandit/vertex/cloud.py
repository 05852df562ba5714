"""Where a launch runs and what it may cost: project, bucket, image, machine. Checked before any service is asked."""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit.vertex import machines
from jaxbandit.vertex.machines import Machine

SCHEDULING = ("standard", "spot", "flex-start")
ACCELS = {"cpu": ("cpu",), "cuda": ("cuda12", "cuda13"), "tpu": ("tpu",)}  # of images -> JAX's platform
FLEX_START = ("NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB", "NVIDIA_H100", "NVIDIA_H200", "NVIDIA_B200")
LONGEST = 7 * 24 * 3600  # seconds that the service lets a job run
FORMS = {
    "project": (r"[a-z][a-z0-9.:-]{4,}[a-z0-9]|\d+", "the id of a Google Cloud project, as my-project"),
    "region": (r"[a-z]+-[a-z]+\d+", "a region, as us-central1"),
    "bucket": (r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/[^/\s?#*\[\]]+)*/?", "gs://BUCKET or gs://BUCKET/FOLDER"),
    "service_account": (r"([^@\s]+@[^@\s]+)?", "the e-mail address of a service account"),
    "vpc_network": (r"(projects/[^/]+/global/networks/[^/]+)?", "projects/NUMBER/global/networks/NAME"),
    "tensorboard": (
        r'(projects/[^/"]+/locations/[^/"]+/tensorboards/[0-9]+|[^/"]{1,100})?',
        "projects/NUMBER/locations/REGION/tensorboards/NUMBER, or a display name",
    ),
    "experiment": (r"([a-z0-9][a-z0-9-]{0,49})?", "up to 50 lower-case letters, digits and '-'"),
}


@dataclass(frozen=True)
class Cloud:
    """The cloud part of a launch; a TOML file may hold it."""

    project: str = ""
    region: str = ""
    bucket: str = ""  # gs://BUCKET[/FOLDER], a regional one in the same region
    image: str = ""  # NAME:TAG or NAME@sha256:DIGEST
    machine: str = ""
    accelerator: str = ""  # TYPE:COUNT, for machines of Google's names that have a choice
    topology: str = ""  # likewise
    replicas: int = 1  # machines side by side, one program over all of them
    scheduling: str = "standard"  # or spot, flex-start
    timeout: str = "4h"  # of a job, or of each trial
    max_wait: str = ""  # for capacity
    service_account: str = ""
    vpc_network: str = ""
    experiment: str = ""  # of Vertex Experiments
    tensorboard: str = ""  # resource or display name of a managed one, made where it is missing
    price: float | None = None  # US dollars per hour of one machine (of a TPU: of the slice)

    @property
    def chosen_machine(self) -> Machine:
        """The machine by its name."""
        return machines.find(self.machine, self.accelerator, self.topology)

    @property
    def parent(self) -> str:
        """Where jobs are created."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def is_multihost(self) -> bool:
        """Whether several processes run one program."""
        return self.replicas > 1 or self.chosen_machine.hosts > 1


WORDS = {
    "project": "id of the Google Cloud project",
    "region": "as us-central1",
    "bucket": "gs://BUCKET[/FOLDER] for results, regional, in the same region",
    "image": "container image with its tag; see scripts/build_image.sh",
    "machine": "as cpu-16, l4x1, h100x1, v5e-8, or Google's name of a machine type",
    "accelerator": "TYPE:COUNT, for Google's machine types that have a choice",
    "topology": "of a TPU machine type, as 4x4",
    "replicas": "machines that run one program together",
    "scheduling": "standard, spot (cheap, may be preempted) or flex-start (waits for GPUs)",
    "timeout": "of a job or trial, as 90m, 4h, 2d",
    "max_wait": "for capacity (flex-start), as 12h",
    "service_account": "e-mail address of the one that the job runs as",
    "vpc_network": "peered network of the job",
    "experiment": "Vertex Experiment in which parameters and metrics are logged",
    "tensorboard": "managed TensorBoard: resource or display name; made if missing",
    "price": "US dollars per hour of a machine, for an upper bound of the cost",
}


def read_cloud(path: str | None, given: Mapping[str, Any]) -> Cloud:
    """Read a TOML file, put given values over it, and check the whole.

    Raises:
        InputError: the file cannot be read or has an unknown entry, or a value is missing or wrong.
    """
    entries: dict[str, Any] = {}
    if path is not None:
        try:
            entries = tomllib.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"cloud is {path!r}, which cannot be read: {error}; allowed: a TOML file") from None
    entries = {name.replace("-", "_"): value for name, value in entries.items()}
    kinds: dict[str, type | tuple[type, ...]] = {"replicas": int, "price": (int, float)}
    for name, value in entries.items():
        if name not in WORDS:
            raise refused_name(f"{path} has an unknown entry", name, WORDS)
        if isinstance(value, bool) or not isinstance(value, kinds.get(name, str)):
            raise InputError(f"{name} is {value!r} in {path}; allowed: {WORDS[name]}")
    if "price" in entries:
        entries["price"] = float(entries["price"])
    given = {name: value for name, value in given.items() if value is not None}
    return changed(Cloud(**entries), given)


def changed(cloud: Cloud, given: Mapping[str, Any]) -> Cloud:
    """Put values over a cloud part, and check the whole; another machine has another price.

    Raises:
        InputError: a value is missing or wrong.
    """
    price = cloud.price if given.get("machine", cloud.machine) == cloud.machine else None
    return checked(replace(cloud, **{"price": price} | dict(given)))


def checked(cloud: Cloud) -> Cloud:
    """Return the cloud part if all of it is allowed.

    Raises:
        InputError: a value is missing, wrong, or does not go with another.
    """
    for field in fields(Cloud)[:5]:
        if not getattr(cloud, field.name):
            raise InputError(f"{field.name} is missing; allowed: --{field.name} or --cloud FILE ({WORDS[field.name]})")
    for name, (pattern, words) in FORMS.items():
        if not re.fullmatch(pattern, getattr(cloud, name)):
            raise InputError(f"{name} is {getattr(cloud, name)!r}; allowed: {words}")
    _check_image(cloud)
    _check_machines(cloud)
    _check_scheduling(cloud)
    if cloud.tensorboard and not cloud.service_account:
        raise InputError(
            "service_account is missing; allowed with a tensorboard: a service account that may write to it"
        )
    if cloud.price is not None and not 0 < cloud.price < math.inf:
        raise InputError(f"price is {cloud.price}; allowed: US dollars per hour, > 0")
    return cloud


def duration(name: str, text: str) -> int:
    """Seconds of 90s, 30m, 4h or 2d.

    Raises:
        InputError: it is none, or longer than the service allows.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0
    if not 1 <= seconds <= LONGEST:
        raise InputError(f"{name} is {text!r}; allowed: a duration up to 7d, as 90m or 4h")
    return int(seconds)


def _check_image(cloud: Cloud) -> None:
    """Refuse an image without a tag, and one whose tag says that it is for other machines."""
    name, _, tag = cloud.image.rpartition("/")[2].partition(":")
    if not re.fullmatch(r"[\w.-]+(@sha256)?", name) or not re.fullmatch(r"[\w][\w.-]{0,127}", tag):
        raise InputError(f"image is {cloud.image!r}; allowed: NAME:TAG or NAME@sha256:DIGEST, so that it is one image")
    built_for = tag.removesuffix("-dirty").rpartition("-")[2]
    platform = cloud.chosen_machine.platform
    if built_for in {accel for accels in ACCELS.values() for accel in accels} - set(ACCELS[platform]):
        raise InputError(
            f"image is {cloud.image!r}, built for {built_for}, but machine {cloud.machine} wants "
            f"{' or '.join(ACCELS[platform])}; allowed: an image built with --accel {ACCELS[platform][0]}"
        )


def _check_machines(cloud: Cloud) -> None:
    machine = cloud.chosen_machine
    if cloud.replicas < 1:
        raise InputError(f"replicas is {cloud.replicas}; allowed: a whole number > 0")
    if machine.platform == "tpu" and cloud.replicas > 1:
        raise InputError(f"replicas is {cloud.replicas} of a TPU; allowed: 1 of a larger topology")


def _check_scheduling(cloud: Cloud) -> None:
    machine = cloud.chosen_machine
    duration("timeout", cloud.timeout)
    if cloud.scheduling not in SCHEDULING:
        raise refused_name("unknown scheduling", cloud.scheduling, SCHEDULING)
    if cloud.scheduling == "spot" and machine.platform == "tpu" and machine.hosts > 1:
        raise InputError(f"scheduling is spot of {cloud.machine}, a TPU slice of several hosts; allowed: standard")
    if (cloud.scheduling == "flex-start") != bool(cloud.max_wait):
        raise InputError(f"max_wait is {cloud.max_wait!r}; allowed: a duration with flex-start, none without")
    if cloud.scheduling == "flex-start":
        duration("max_wait", cloud.max_wait)
        if not machine.accelerator.startswith(FLEX_START):
            raise InputError(
                f"scheduling is flex-start of {cloud.machine}; allowed: machines with L4 GPUs or larger ones"
            )
