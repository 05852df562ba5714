"""What Google's rules allow of the cloud part of a launch. Nothing is asked: what can be known here is refused here.

Sources, which may change, beside those in `machines`: the token of Google's default agent,
https://docs.cloud.google.com/vertex-ai/docs/general/access-control; disks, waits, labels and variables: the messages
Scheduling, DiskSpec, CustomJob and ContainerSpec of https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1.
"""

import math
import re
from dataclasses import fields

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit.vertex.cloud import WORDS, Cloud
from jaxbandit.vertex.machines import RESERVED, SCARCE

SCHEDULING = ("standard", "spot", "flex-start")
ACCELS = {"cpu": ("cpu",), "cuda": ("cuda12", "cuda13"), "tpu": ("tpu",)}  # of images -> JAX's platform
FLEX_START = ("NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB", "NVIDIA_H100", "NVIDIA_H200", "NVIDIA_B200")
DISKS = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
OWN = ("AIP_", "CLOUD_ML_", "JAXBANDIT_")  # variables of the environment that begin so
MOST = 50  # variables, and labels, of the user's own: the service takes 100 and 64 in all
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
    "reservation": (
        r"(projects/[^/\s]+/zones/[^/\s]+/reservations/[^/\s]+)?",
        "projects/PROJECT/zones/ZONE/reservations/NAME",
    ),
    "persistent_resource": (r"([a-z][a-z0-9-]{0,62})?", "the id of a persistent resource"),
    "experiment": (r"([a-z0-9][a-z0-9-]{0,49})?", "up to 50 lower-case letters, digits and '-'"),
}


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
    _check_supply(cloud)
    _check_pairs(cloud)
    for name in ("tensorboard", "experiment"):
        if getattr(cloud, name) and not cloud.service_account:
            raise InputError(
                f"service_account is missing; allowed with {name}: one of your own that may write to it, since the "
                "token of Google's default agent reaches buckets alone"
            )
    if cloud.price is not None and not 0 < cloud.price < math.inf:
        raise InputError(f"price is {cloud.price}; allowed: US dollars per hour, > 0")
    return cloud


def waiting(text: str) -> int:
    """Seconds of a longest wait for capacity; 0 is for ever, as the service has it."""
    return 0 if text == "0" else duration("max_wait", text)


def disk_of(cloud: Cloud) -> tuple[str, int]:
    """Type of the boot disk, empty for the service's own choice, and its size in GB.

    Raises:
        InputError: the size is no whole number.
    """
    kind, _, size = cloud.disk.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,6}", size or "100"):
        raise InputError(f"disk is {cloud.disk!r}; allowed: GB, or TYPE:GB, as hyperdisk-balanced:200")
    return kind or cloud.chosen_machine.boot_disk, int(size or 100)


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
        raise InputError(
            f"max_wait is {cloud.max_wait!r}; allowed: a duration, or 0 for ever, with flex-start, none without"
        )
    if cloud.scheduling == "flex-start":
        waiting(cloud.max_wait)
        if not machine.accelerator.startswith(FLEX_START):
            raise InputError(
                f"scheduling is flex-start of {cloud.machine}; allowed: machines with L4 GPUs or larger ones"
            )


def _check_supply(cloud: Cloud) -> None:
    """Refuse what Google does not sell so; see `machines` for the source."""
    kind = cloud.chosen_machine.machine_type
    if cloud.reservation and cloud.scheduling != "standard":
        raise InputError(f"reservation is given with scheduling {cloud.scheduling}; allowed: standard")
    if cloud.persistent_resource and (cloud.reservation or cloud.scheduling != "standard"):
        raise InputError("persistent_resource has machines already; allowed: neither a reservation nor scheduling")
    if cloud.scheduling == "standard" and not cloud.persistent_resource:
        if kind in SCARCE:
            raise InputError(f"scheduling is standard of {cloud.machine}; allowed: spot, or flex-start with max_wait")
        if kind in RESERVED and not cloud.reservation:
            raise InputError(
                f"scheduling is standard of {cloud.machine}; allowed: spot, flex-start with max_wait, or a reservation"
            )
    disk, size = disk_of(cloud)
    if not 100 <= size <= 65536 or disk not in ("", *DISKS):
        raise InputError(f"disk is {cloud.disk!r}; allowed: GB from 100 to 65536, or TYPE:GB of {', '.join(DISKS)}")
    own = cloud.chosen_machine.boot_disk
    if own and disk != own:
        raise InputError(f"disk is {cloud.disk!r} of {cloud.machine}; allowed: {own}:GB")


def _check_pairs(cloud: Cloud) -> None:
    for name, value in cloud.label.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or not re.fullmatch(r"[a-z0-9_-]{0,63}", str(value)):
            raise InputError(
                f"label is '{name}={value}'; allowed: up to 63 of lower-case letters, digits, '_' and '-' each, "
                "a letter first"
            )
        if name.startswith("jaxbandit-"):
            raise InputError(f"label is '{name}={value}', by which the launcher finds jobs; allowed: other names")
    for name, value in cloud.set_env.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not isinstance(value, str):
            raise InputError(f"set_env is '{name}={value}'; allowed: NAME=TEXT, a name of letters, digits and '_'")
        if name.startswith(OWN) or name in ("CLUSTER_SPEC", "TF_CONFIG", "JAX_PLATFORMS"):
            raise InputError(f"set_env is '{name}={value}', which the launcher or Vertex AI sets; allowed: other names")
    if len(cloud.set_env) > MOST or len(cloud.label) > MOST:
        raise InputError(
            f"there are {len(cloud.set_env)} set_env and {len(cloud.label)} label; allowed: {MOST} of each"
        )
