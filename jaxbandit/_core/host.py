"""What this machine has: its memory. It needs no JAX."""

from contextlib import suppress
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def memory_bytes() -> int:
    """Memory of this machine, or of the container around this process where that is less."""
    import psutil

    sizes = [psutil.virtual_memory().total]
    for path in LIMITS:
        with suppress(OSError, ValueError):
            sizes.append(int(Path(path).read_text()))
    return min(sizes)
