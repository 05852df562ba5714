"""What the service refuses when a job is created. The table of machines is written here a second time on purpose."""

import re
from collections.abc import Container, Iterable
from itertools import pairwise

from google.cloud import aiplatform_v1 as v1

from .calls import full_name, invalid

_CPU = re.compile(r"(e2|n1|n2|n2d|c2|c2d|c3|c4|m1|m3)-(standard|highmem|highcpu|ultramem|megamem)-\d+")
_GPU = {
    **{f"g2-standard-{cores}": ("NVIDIA_L4", 1) for cores in (4, 8, 12, 16, 32)},
    "g2-standard-24": ("NVIDIA_L4", 2),
    "g2-standard-48": ("NVIDIA_L4", 4),
    "g2-standard-96": ("NVIDIA_L4", 8),
    **{f"a2-highgpu-{count}g": ("NVIDIA_TESLA_A100", count) for count in (1, 2, 4, 8)},
    **{f"a2-ultragpu-{count}g": ("NVIDIA_A100_80GB", count) for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": ("NVIDIA_H100_80GB", count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
    **{f"g4-standard-{48 * count}": ("NVIDIA_RTX_PRO_6000", count) for count in (1, 2, 4, 8)},
    "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": ("NVIDIA_B200", 8),
}
_SHARED = ("a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g")
_NO_PERSISTENT_DISK = ("a4-highgpu-8g", *(f"g4-standard-{cores}" for cores in (48, 96, 192, 384)))
_SLICES = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_TPU = {
    "ct5lp-hightpu-1t": ("1x1",),
    "ct5lp-hightpu-4t": _SLICES,
    "ct5lp-hightpu-8t": ("2x4",),
    "ct6e-standard-1t": ("1x1",),
    "ct6e-standard-4t": _SLICES,
    "ct6e-standard-8t": ("2x4",),
    "tpu7x-standard-4t": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16"),
}
_IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)+(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})")
_CONTEXT = re.compile(r"projects/[^/]+/locations/[^/]+/metadataStores/[^/]+/contexts/[a-z0-9][a-z0-9-]{0,127}")


def check_job(display_name: str, labels: dict[str, str]) -> None:
    """Refuse a name or a label that no job may have."""
    if not 1 <= len(display_name) <= 128:
        raise invalid(f"display_name must have 1 to 128 characters; it has {len(display_name)}.")
    if len(labels) > 64:
        raise invalid(f"A job has at most 64 labels; this one has {len(labels)}.")
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise invalid(f"Label '{key}': '{value}' is not valid: lower-case letters, digits, _ and -, at most 63.")


def check_spec(spec: v1.CustomJobSpec, region: str, buckets: Container[str], tensorboards: Container[str]) -> None:
    """Refuse what no machine of the service could run."""
    pools = list(spec.worker_pool_specs)
    if not pools or pools[0].replica_count != 1:
        raise invalid("worker_pool_specs[0].replica_count must be 1: it is the primary replica's.")
    for index, pool in enumerate(pools):
        if not index or v1.WorkerPoolSpec.pb(pool).ByteSize():
            check_pool(f"worker_pool_specs[{index}]", pool)
    check_scheduling(spec)
    base = spec.base_output_directory.output_uri_prefix
    if base:
        bucket = re.fullmatch(r"gs://([^/]+)(/.*)?", base)
        if not bucket:
            raise invalid(f"base_output_directory '{base}' is not a Cloud Storage URI: gs://bucket/path.")
        if bucket[1] not in buckets:
            raise invalid(f"The bucket of base_output_directory '{base}' does not exist.")
    check_tracking(spec, region, tensorboards)


def check_pool(where: str, pool: v1.WorkerPoolSpec) -> None:
    """Refuse a pool without a container, or on a machine that does not exist."""
    container = pool.container_spec
    if not container.image_uri:
        raise invalid(f"{where}.container_spec.image_uri is required.")
    if not _IMAGE.fullmatch(container.image_uri):
        raise invalid(
            f"{where}.container_spec.image_uri '{container.image_uri}' needs a registry, and a tag or a digest."
        )
    if len(container.env) > 100:
        raise invalid(f"{where}.container_spec.env has {len(container.env)} variables; at most 100 are allowed.")
    for variable in container.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable.name):
            raise invalid(f"{where}.container_spec.env: '{variable.name}' is not a valid name.")
    if pool.replica_count < 1:
        raise invalid(f"{where}.replica_count must be positive.")
    check_machine(f"{where}.machine_spec", pool.machine_spec, pool.replica_count)
    disk = pool.disk_spec.boot_disk_type or "pd-ssd"
    if pool.machine_spec.machine_type in _NO_PERSISTENT_DISK and disk != "hyperdisk-balanced":
        raise invalid(f"{where}.disk_spec: {pool.machine_spec.machine_type} does not support boot disk type {disk}.")


def check_machine(where: str, machine: v1.MachineSpec, replicas: int) -> None:
    """Refuse a combination of machine, accelerator and topology that does not exist."""
    kind, topology = machine.machine_type, machine.tpu_topology
    accelerator, count = v1.AcceleratorType(machine.accelerator_type).name, machine.accelerator_count
    if accelerator == "ACCELERATOR_TYPE_UNSPECIFIED":
        accelerator = ""
    if bool(accelerator) != bool(count):
        raise invalid(f"{where}: accelerator_type and accelerator_count need each other.")
    if kind in _TPU:
        if accelerator:
            raise invalid(f"{where}: machine type {kind} takes no accelerator type; it takes tpu_topology.")
        if topology not in _TPU[kind]:
            raise invalid(f"{where}: '{topology}' is no topology of machine type {kind}: {', '.join(_TPU[kind])}.")
        if replicas != 1:
            raise invalid(f"{where}: replica_count must be 1 with a TPU; it is {replicas}.")
    elif topology:
        raise invalid(f"{where}: machine type {kind} has no TPU, so no tpu_topology.")
    elif kind in _GPU:
        if (accelerator, count) != _GPU[kind]:
            raise invalid(
                f"{where}: machine type {kind} has {_GPU[kind][1]} x {_GPU[kind][0]}, not {count} x {accelerator}."
            )
    elif not _CPU.fullmatch(kind):
        raise invalid(f"{where}: machine type '{kind}' is not supported for custom training.")
    elif accelerator and not (kind.startswith("n1-") and accelerator == "NVIDIA_TESLA_T4" and count in (1, 2, 4)):
        raise invalid(f"{where}: {count} x {accelerator} cannot be attached to machine type {kind}.")


def check_scheduling(spec: v1.CustomJobSpec) -> None:
    """Refuse a way of provisioning that the machines do not have."""
    strategy = v1.Scheduling.Strategy(spec.scheduling.strategy).name
    for machine in (pool.machine_spec for pool in spec.worker_pool_specs):
        hosts = _chips(machine.tpu_topology) > int(machine.machine_type[-2]) if machine.machine_type in _TPU else False
        if strategy == "SPOT" and hosts:
            raise invalid(f"SPOT is not supported for TPU slices of several hosts: {machine.tpu_topology}.")
        if strategy in ("STANDARD", "STRATEGY_UNSPECIFIED") and machine.machine_type in _SHARED:
            raise invalid(f"Machine type {machine.machine_type} is only available with SPOT or FLEX_START.")
        if strategy == "FLEX_START" and machine.machine_type and machine.machine_type not in _GPU:
            raise invalid(f"FLEX_START is not supported for machine type {machine.machine_type}.")


def _chips(topology: str) -> int:
    product = 1
    for side in topology.split("x"):
        product *= int(side)
    return product


def check_tracking(spec: v1.CustomJobSpec, region: str, tensorboards: Container[str]) -> None:
    """Refuse a TensorBoard or an experiment that the job cannot write to."""
    if spec.tensorboard and spec.experiment:
        raise invalid("tensorboard and experiment cannot both be set.")
    if (spec.tensorboard or spec.experiment) and not spec.service_account:
        raise invalid("service_account must be set with tensorboard or experiment.")
    if spec.tensorboard and full_name(spec.tensorboard, region) not in tensorboards:
        raise invalid(f"TensorBoard {spec.tensorboard} does not exist.")
    if spec.tensorboard and not spec.base_output_directory.output_uri_prefix:
        raise invalid("base_output_directory must be set with tensorboard.")
    if spec.experiment and not _CONTEXT.fullmatch(spec.experiment):
        raise invalid(f"experiment '{spec.experiment}' is not the name of a metadata context.")


def check_study(job: v1.HyperparameterTuningJob) -> None:
    """Refuse a study that cannot be run."""
    study = job.study_spec
    if job.max_trial_count < 1 or job.parallel_trial_count < 1:
        raise invalid("max_trial_count and parallel_trial_count must be positive.")
    if job.parallel_trial_count > job.max_trial_count:
        message = f"parallel_trial_count {job.parallel_trial_count} exceeds max_trial_count {job.max_trial_count}."
        raise invalid(message)
    if job.max_failed_trial_count < 0 or job.max_failed_trial_count > job.max_trial_count:
        raise invalid("max_failed_trial_count must be between 0 and max_trial_count.")
    if not study.metrics or not study.parameters:
        raise invalid("study_spec needs metrics and parameters.")
    for metric in study.metrics:
        if not metric.metric_id or not metric.goal:
            raise invalid(f"study_spec.metrics: '{metric.metric_id}' needs a metric_id and a goal.")
    _unique(metric.metric_id for metric in study.metrics)
    _unique(parameter.parameter_id for parameter in study.parameters)
    for parameter in study.parameters:
        check_parameter(parameter, study.algorithm == v1.StudySpec.Algorithm.GRID_SEARCH)


def _unique(names: Iterable[str]) -> None:
    names = list(names)
    if len(set(names)) < len(names):
        raise invalid(f"study_spec names something twice: {', '.join(names)}.")


def check_parameter(parameter: v1.StudySpec.ParameterSpec, grid: bool) -> None:
    """Refuse a range without values, or that the scale or the algorithm cannot take."""
    where = f"study_spec.parameters: parameter '{parameter.parameter_id}'"
    kind = v1.StudySpec.ParameterSpec.pb(parameter).WhichOneof("parameter_value_spec")
    if not parameter.parameter_id or kind is None:
        raise invalid(f"{where} needs a parameter_id and a value spec.")
    if parameter.conditional_parameter_specs:
        raise invalid(f"{where}: the test server has no conditional parameters.")
    if kind == "double_value_spec" and grid:
        raise invalid(f"{where} is a DOUBLE, which GRID_SEARCH does not support.")
    spec = getattr(parameter, kind)
    if kind in ("double_value_spec", "integer_value_spec"):
        lowest = spec.min_value
        if spec.min_value >= spec.max_value:
            raise invalid(f"{where}: min_value {spec.min_value} must be less than max_value {spec.max_value}.")
    else:
        values = list(spec.values)
        if not values:
            raise invalid(f"{where} has no values.")
        if kind == "discrete_value_spec" and any(a >= b for a, b in pairwise(values)):
            raise invalid(f"{where}: the values of a DISCRETE parameter must increase strictly: {values}.")
        if len(set(values)) < len(values):
            raise invalid(f"{where} has a value twice: {values}.")
        lowest = values[0]
    scale = v1.StudySpec.ParameterSpec.ScaleType(parameter.scale_type).name
    if kind == "categorical_value_spec" and scale != "SCALE_TYPE_UNSPECIFIED":
        raise invalid(f"{where} is CATEGORICAL, so it has no scale.")
    if "LOG" in scale and lowest <= 0:
        raise invalid(f"{where}: {scale} needs values above 0; the lowest is {lowest}.")
