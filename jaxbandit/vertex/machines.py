"""Machines of Vertex AI under short names (`h100x1`, `v5e-8`), checked against one table. It asks no service.

Sources, which may change. Machine types, accelerators and topologies of training jobs:
https://docs.cloud.google.com/vertex-ai/docs/training/configure-compute
CPUs, disks and ways of provisioning of machines with GPUs:
https://docs.cloud.google.com/compute/docs/accelerator-optimized-machines
Quota of flex-start: https://docs.cloud.google.com/vertex-ai/docs/training/schedule-jobs-dws
"""

from collections.abc import Iterable
from math import prod
from typing import Literal, NamedTuple

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit.vertex.wire import Json

_CPUS = (4, 8, 16, 32, 64, 96)
_N2 = (4, 8, 16, 32, 48, 64, 80)
_T4 = {2: (1, 2, 4), 4: (1, 2, 4), 8: (1, 2, 4), 16: (1, 2, 4), 32: (2, 4), 64: (4,), 96: (4,)}  # CPUs of n1 -> T4s
_L4 = {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8}  # CPUs of g2-standard -> L4s
# kind of machine -> numbers of CPUs
CPUS: dict[str, tuple[int, ...]] = {
    "e2-standard": (4, 8, 16, 32),
    "e2-highmem": (2, 4, 8, 16),
    "e2-highcpu": (16, 32),
    "n1-standard": _CPUS,
    "n1-highmem": (2, *_CPUS),
    "n1-highcpu": (16, 32, 64, 96),
    "n2-standard": _N2,
    "n2-highmem": (2, *_N2),
    "n2-highcpu": (16, 32, 48, 64, 80),
    "c2-standard": (4, 8, 16, 30, 60),
    "m1-ultramem": (40, 80, 160),
    "m1-megamem": (96,),
}
CPU_TYPES = tuple(f"{kind}-{cpus}" for kind, counts in CPUS.items() for cpus in counts)
# machine type -> accelerator -> how many of them it may have
GPUS: dict[str, dict[str, tuple[int, ...]]] = {
    **{
        f"{kind}-{cpus}": {"NVIDIA_TESLA_T4": _T4[cpus]}
        for kind, counts in CPUS.items()
        for cpus in counts
        if kind.startswith("n1-")
    },
    **{f"g2-standard-{cpus}": {"NVIDIA_L4": (count,)} for cpus, count in _L4.items()},
    **{f"g4-standard-{48 * n}": {"NVIDIA_RTX_PRO_6000": (n,)} for n in (1, 2, 4, 8)},
    **{f"a2-highgpu-{n}g": {"NVIDIA_TESLA_A100": (n,)} for n in (1, 2, 4, 8)},
    "a2-megagpu-16g": {"NVIDIA_TESLA_A100": (16,)},
    **{f"a2-ultragpu-{n}g": {"NVIDIA_A100_80GB": (n,)} for n in (1, 2, 4, 8)},
    **{f"a3-highgpu-{n}g": {"NVIDIA_H100_80GB": (n,)} for n in (1, 2, 4, 8)},
    "a3-megagpu-8g": {"NVIDIA_H100_MEGA_80GB": (8,)},
    "a3-ultragpu-8g": {"NVIDIA_H200_141GB": (8,)},
    "a4-highgpu-8g": {"NVIDIA_B200": (8,)},
}
# CPUs of the machines whose names count their GPUs: so many for each of these
_CPUS_OF_GPU = {"a2-highgpu": 12, "a2-megagpu": 6, "a2-ultragpu": 12, "a3-highgpu": 26, "a3-megagpu": 26}
_CPUS_OF_GPU |= {"a3-ultragpu": 28, "a4-highgpu": 28}
# Only with spot or flex-start; the others of these only so, or from a reservation.
SCARCE = ("a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g")
RESERVED = ("a3-ultragpu-8g", "a4-highgpu-8g")
_HYPERDISK = ("a3-ultragpu-", "a4-", "g4-")  # take no persistent disk, which is the service's default beside A3 Ultra
_SLICES = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
# machine type -> topologies of a slice of such hosts
TPUS: dict[str, tuple[str, ...]] = {
    **{
        f"{kind}-{chips}t": shapes
        for kind in ("ct5lp-hightpu", "ct6e-standard")
        for chips, shapes in ((1, ("1x1",)), (8, ("2x4",)), (4, _SLICES))
    },
    "tpu7x-standard-4t": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4"),
}
_QUOTAS = {  # of H100 Mega, B200 and RTX PRO 6000 only the pattern is known
    "NVIDIA_TESLA_T4": "nvidia_t4_gpus",
    "NVIDIA_L4": "nvidia_l4_gpus",
    "NVIDIA_TESLA_A100": "nvidia_a100_gpus",
    "NVIDIA_A100_80GB": "nvidia_a100_80gb_gpus",
    "NVIDIA_H100_80GB": "nvidia_h100_gpus",
    "NVIDIA_H100_MEGA_80GB": "nvidia_h100_mega_gpus",
    "NVIDIA_H200_141GB": "nvidia_h200_gpus",
    "NVIDIA_B200": "nvidia_b200_gpus",
    "NVIDIA_RTX_PRO_6000": "nvidia_rtx_pro_6000_gpus",
    "ct5lp-hightpu": "tpu_v5e",
    "ct6e-standard": "tpu_v6e",
    "tpu7x-standard": "tpu_v7x",
}


class Machine(NamedTuple):
    """What one replica of a job runs on: a virtual machine, or a TPU slice of one or several hosts."""

    machine_type: str
    platform: Literal["cpu", "cuda", "tpu"]  # of JAX
    accelerator: str = ""  # a name of Vertex's AcceleratorType; TPUs have none
    number: int = 0  # GPUs of the machine, or chips of the slice
    topology: str = ""  # of a TPU slice
    hosts: int = 1

    @property
    def spec(self) -> dict[str, Json]:
        """The MachineSpec of a request."""
        spec: dict[str, Json] = {"machineType": self.machine_type}
        if self.accelerator:
            spec |= {"acceleratorType": self.accelerator, "acceleratorCount": self.number}
        return spec | ({"tpuTopology": self.topology} if self.topology else {})

    @property
    def words(self) -> str:
        """What it is, for a person."""
        if self.topology:
            return f"{self.topology} slice of {self.machine_type}, hosts: {self.hosts}"
        return self.machine_type + (f" with {self.number} {self.accelerator}" if self.number else "")

    @property
    def cpus(self) -> int:
        """CPUs of a virtual machine."""
        kind, _, number = self.machine_type.rpartition("-")
        return self.number * _CPUS_OF_GPU[kind] if kind in _CPUS_OF_GPU else int(number.rstrip("t"))

    @property
    def boot_disk(self) -> str:
        """Type of the boot disk; empty where the service's own choice is right."""
        return "hyperdisk-balanced" if self.machine_type.startswith(_HYPERDISK) else ""

    def quota(self, preemptible: bool) -> dict[str, int]:
        """Quota metrics of Vertex AI training that one replica draws on, and how much of each.

        A machine with GPUs draws on the CPUs of its family too; those of N1 and E2 have no name of a family.
        """
        prefix = f"aiplatform.googleapis.com/custom_model_training_{'preemptible_' if preemptible else ''}"
        needed = {}
        if self.number:
            needed[prefix + _QUOTAS[self.accelerator or self.machine_type.rpartition("-")[0]]] = self.number
        if self.platform != "tpu":
            family = self.machine_type.partition("-")[0]
            needed[prefix + ("cpus" if family in ("n1", "e2") else f"{family}_cpus")] = self.cpus
        return needed


def _short_names() -> dict[str, Machine]:
    names = {f"cpu-{n}": Machine(f"n1-standard-{n}", "cpu") for n in _CPUS}
    gpus = {
        "t4x1": "n1-standard-8",
        "t4x2": "n1-standard-16",
        "t4x4": "n1-standard-32",
        "l4x1": "g2-standard-12",
        "l4x2": "g2-standard-24",
        "l4x4": "g2-standard-48",
        "l4x8": "g2-standard-96",
        **{f"rtx6000x{n}": f"g4-standard-{48 * n}" for n in (1, 2, 4, 8)},
        **{f"a100x{n}": f"a2-highgpu-{n}g" for n in (1, 2, 4, 8)},
        "a100x16": "a2-megagpu-16g",
        **{f"a100-80gbx{n}": f"a2-ultragpu-{n}g" for n in (1, 2, 4, 8)},
        **{f"h100x{n}": f"a3-highgpu-{n}g" for n in (1, 2, 4, 8)},
        "h100-megax8": "a3-megagpu-8g",
        "h200x8": "a3-ultragpu-8g",
        "b200x8": "a4-highgpu-8g",
    }
    for name, machine_type in gpus.items():
        (accelerator,) = GPUS[machine_type]
        names[name] = Machine(machine_type, "cuda", accelerator, int(name.rpartition("x")[2]))
    for version, kind in {"v5e": "ct5lp-hightpu", "v6e": "ct6e-standard", "v7x": "tpu7x-standard"}.items():
        slices = [
            _slice(m, topology) for m, topologies in TPUS.items() if m.startswith(kind) for topology in topologies
        ]
        fewest = {machine.number: machine for machine in sorted(slices, key=lambda machine: -machine.hosts)}
        names |= {f"{version}-{number}": fewest[number] for number in sorted(fewest)}
    return names


def _slice(machine_type: str, topology: str) -> Machine:
    chips = prod(map(int, topology.split("x")))
    per_host = int(machine_type.rpartition("-")[2].removesuffix("t"))
    return Machine(machine_type, "tpu", number=chips, topology=topology, hosts=chips // per_host)


MACHINES: dict[str, Machine] = _short_names()


def find(name: str, accelerator: str = "", topology: str = "") -> Machine:
    """Find a machine by its short name (`h100x1`, `v5e-8`), or by Google's own with an accelerator or a topology.

    Raises:
        InputError: there is no such machine, or it has no such accelerators or topology.
    """
    if name in MACHINES:
        machine = MACHINES[name]
        own = f"{machine.accelerator}:{machine.number}" if machine.accelerator else ""
        for field, given, value in (("accelerator", accelerator, own), ("topology", topology, machine.topology)):
            if given and given != value:
                raise _refused(field, given, f"machine {name}", [value] if value else [])
        return machine
    if name in TPUS:
        if accelerator:
            raise _refused("accelerator", accelerator, f"machine {name}, a TPU", [])
        topology = topology or (TPUS[name][0] if len(TPUS[name]) == 1 else "")
        if topology not in TPUS[name]:
            raise _refused("topology", topology, f"machine {name}", TPUS[name])
        return _slice(name, topology)
    if name not in GPUS and name not in CPU_TYPES:
        raise refused_name("unknown machine", name, [*MACHINES, *CPU_TYPES, *GPUS, *TPUS])
    if topology:
        raise _refused("topology", topology, f"machine {name}, no TPU", [])
    return _virtual_machine(name, accelerator)


def _virtual_machine(name: str, accelerator: str) -> Machine:
    allowed = [f"{kind}:{count}" for kind, counts in GPUS.get(name, {}).items() for count in counts]
    if not accelerator and name in CPU_TYPES:
        return Machine(name, "cpu")
    accelerator = accelerator or allowed[0]
    if accelerator not in allowed:
        raise _refused("accelerator", accelerator, f"machine {name}", allowed)
    kind, _, count = accelerator.partition(":")
    return Machine(name, "cuda", kind, int(count))


def _refused(field: str, value: str, what: str, allowed: Iterable[str]) -> InputError:
    return InputError(f"{field} is {value!r} of {what}; allowed: {', '.join(allowed) or f'no {field}'}")
