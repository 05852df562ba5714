"""How much memory a compiled program needs, and how much there is for it. Decides nothing."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

HOST_SHARE = 0.5  # of a machine's memory; the rest is for all else that runs there
DEVICE_SHARE = 0.8  # of what the allocator of a GPU or TPU may hand out
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def budget(device: jax.Device) -> int:
    """Bytes that a program may take on each device."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(DEVICE_SHARE * stats["bytes_limit"])
    return int(HOST_SHARE * _host_bytes() / jax.local_device_count())


def needed(program: Any) -> int:
    """Bytes that a compiled program takes on each device: arguments, results, and what lies between."""
    analysis = program.memory_analysis()
    if analysis is None:  # not every backend tells
        return 0
    parts = (analysis.argument_size_in_bytes, analysis.output_size_in_bytes, analysis.temp_size_in_bytes)
    return sum(parts) - analysis.alias_size_in_bytes


def _host_bytes() -> int:
    """Memory of this machine, or of the container around this process where that is less."""
    import psutil

    sizes = [psutil.virtual_memory().total]
    for path in LIMITS:
        with suppress(OSError, ValueError):
            sizes.append(int(Path(path).read_text()))
    return min(sizes)
