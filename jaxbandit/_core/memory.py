"""How much memory a program or a buffer needs, and how much there is for it. It allocates nothing."""

import math

import jax
from jax.stages import Compiled
from jaxtyping import PyTree

from jaxbandit._core import host
from jaxbandit._core.errors import InputError

HOST_SHARE = 0.5  # of a machine's memory; the rest is for all else that runs there
DEVICE_SHARE = 0.8  # of what the allocator of a GPU or TPU may hand out
MOST_BYTES = 2**30  # of a buffer of one lane


def budget(device: jax.Device) -> int:
    """Bytes that a program may take on each device."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(DEVICE_SHARE * stats["bytes_limit"])
    return of_host() // jax.local_device_count()


def of_host() -> int:
    """Bytes that all devices of a CPU, or arrays outside of devices, may take."""
    return int(HOST_SHARE * host.memory_bytes())


def size_of(example: PyTree) -> int:
    """Bytes of arrays like these."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(example))


def needed(program: Compiled) -> int:
    """Bytes that a compiled program takes on each device: arguments, results, and what lies between."""
    analysis = program.memory_analysis()
    if analysis is None:  # not every backend tells
        return 0
    parts = (analysis.argument_size_in_bytes, analysis.output_size_in_bytes, analysis.temp_size_in_bytes)
    return sum(parts) - analysis.alias_size_in_bytes


def check_size(example: PyTree, capacity: int, field: str = "capacity") -> None:
    """Refuse a buffer of `capacity` rows, one of which is like `example`, where it would be too large for each lane.

    Raises:
        InputError: it would take more than 1 GiB.
    """
    each = size_of(example)
    if capacity * each > MOST_BYTES:
        raise InputError(
            f"{field} is {capacity}: rows of {each} bytes make {capacity * each / 2**30:,.1f} GiB for each lane; "
            f"allowed: at most {MOST_BYTES // each} rows ({MOST_BYTES / 2**30:g} GiB)"
        )
