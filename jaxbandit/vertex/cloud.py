"""Where a launch runs and what it may cost: project, bucket, image, machine. What is allowed stands in `rules`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxbandit.vertex import machines
from jaxbandit.vertex.machines import Machine


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
    disk: str = ""  # GB of the boot disk, or TYPE:GB
    reservation: str = ""  # of machines, by its full name
    persistent_resource: str = ""  # whose machines are used, by its id
    enable_web_access: bool = False  # an interactive shell into the containers
    label: Mapping[str, str] = field(default_factory=dict)  # of the jobs
    set_env: Mapping[str, str] = field(default_factory=dict)  # of the containers

    @property
    def chosen_machine(self) -> Machine:
        """The machine by its name."""
        return machines.find(self.machine, self.accelerator, self.topology)

    @property
    def parent(self) -> str:
        """Where jobs are created."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def is_preemptible(self) -> bool:
        """Whether jobs draw on what Google calls preemptible quota: with flex-start too, in name only."""
        return self.scheduling in ("spot", "flex-start")

    @property
    def is_multihost(self) -> bool:
        """Whether several processes run one program."""
        return self.replicas > 1 or self.chosen_machine.hosts > 1


SWITCHES, PAIRS = ("enable_web_access",), ("label", "set_env")  # entries that are no texts or numbers
WORDS = {
    "project": "id of the Google Cloud project",
    "region": "as us-central1",
    "bucket": "gs://BUCKET[/FOLDER] for results, regional, in the same region",
    "image": "container image with its tag; see scripts/build_image.sh; auto, or NAME:auto: that of this commit",
    "machine": "as cpu-16, l4x1, h100x1, v5e-8, or Google's name of a machine type",
    "accelerator": "TYPE:COUNT, for Google's machine types that have a choice",
    "topology": "of a TPU machine type, as 4x4",
    "replicas": "machines that run one program together",
    "scheduling": "standard, spot (cheap, may be preempted) or flex-start (waits for GPUs)",
    "timeout": "of a job or trial, as 90m, 4h, 2d",
    "max_wait": "for capacity (flex-start), as 12h; 0: for ever",
    "service_account": "e-mail address of the one that the job runs as",
    "vpc_network": "peered network of the job",
    "experiment": "Vertex Experiment in which parameters and metrics are logged",
    "tensorboard": "managed TensorBoard: resource or display name; made if missing",
    "price": "US dollars per hour of a machine, for an upper bound of the cost",
    "disk": "of a machine, in GB, or TYPE:GB, as 200 or hyperdisk-balanced:200",
    "reservation": "projects/PROJECT/zones/ZONE/reservations/NAME, whose machines are used",
    "persistent_resource": "id of the one whose machines are used",
    "enable_web_access": "allow an interactive shell into the containers",
    "label": "NAME=VALUE of the jobs, in bills too; may be repeated",
    "set_env": "NAME=VALUE, a variable of the containers; may be repeated",
}
