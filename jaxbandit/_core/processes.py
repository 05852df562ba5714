"""What the processes of a distributed run agree on. With one process every function returns what it was given.

All of them are collectives: every process must call them, in the same order. They run between calls of the compiled
program, never inside its loop.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from jaxbandit._core.errors import InputError

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
CLUSTER, PORT = "CLUSTER_SPEC", "JAXBANDIT_COORDINATOR_PORT"
Result = TypeVar("Result")


def join() -> None:
    """Connect this process with the others, before anything touches a device.

    Where they are is read from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or from what Vertex AI
    tells the machines of a job, or else, by JAX itself, from what a TPU slice, Slurm or Open MPI says.

    Raises:
        InputError: there is nothing that says it.
    """
    address, count, index = (os.environ.get(name) for name in VARIABLES)
    try:
        place = pool() if address is None else Address(address, int(count or ""), int(index or ""))
        if place is None:
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(*place, cluster_detection_method="deactivate")
    except InputError:
        raise
    except ValueError:
        raise InputError(
            "distributed is set, but nothing says where the other processes are; "
            f"allowed: {' '.join(VARIABLES)} in the environment, or a TPU slice, Slurm or Open MPI job"
        ) from None


def use_all_cores() -> None:
    """Make each core of the CPU a device, before anything touches one: XLA leaves cores idle that share a program.

    Where somebody has said how many devices there are, or JAX is at work already, nothing changes.
    """
    said = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    if said > 0 or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with suppress(RuntimeError):  # JAX is at work
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def check_devices() -> None:
    """Raise InputError where JAX finds no device of the platform that it was told to use."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a plugin finds nothing
        told = os.environ.get("JAX_PLATFORMS")
        reason = (str(error).splitlines() or ["none was found"])[0]
        raise InputError(
            f"JAX_PLATFORMS is {told!r}, and there is no such device ({reason}); allowed: cpu, or a platform that is "
            "installed and has a device"
            if told
            else f"JAX finds no device ({reason}); allowed: a device that no other process uses, or JAX_PLATFORMS=cpu"
        ) from None


class Address(NamedTuple):
    """Which process this is."""

    coordinator: str  # host:port of process 0
    num_processes: int
    rank: int


def pool() -> Address | None:
    """Read CLUSTER_SPEC, where Vertex AI lists the machines of a job; None for one machine, and for a TPU slice.

    Processes are numbered pool after pool. The hosts of a slice, which JAX finds by itself, make one machine of a job.

    Raises:
        InputError: it is no such list.
    """
    text, platforms = os.environ.get(CLUSTER), os.environ.get("JAX_PLATFORMS", "")
    if not text or platforms.startswith("tpu"):
        return None
    try:
        content = json.loads(text)
        hosts = {name: content["cluster"][name] for name in sorted(content["cluster"])}
        tasks = [(name, i) for name, members in hosts.items() for i in range(len(members))]
        index = tasks.index((content["task"]["type"], int(content["task"]["index"])))
        host = hosts["workerpool0"][0].rpartition(":")[0]
        if not host:
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        shown = " ".join(text.split())
        raise InputError(
            f"{CLUSTER} is {shown[:60]!r}; allowed: JSON with the hosts of workerpool0 and on in cluster, and task"
        ) from None
    return Address(f"{host}:{_port()}", len(tasks), index) if len(tasks) > 1 else None


def _port() -> int:
    text = os.environ.get(PORT, "3333")
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise InputError(f"{PORT} is {text!r}; allowed: 1 to 65535")
    return int(text)


def leave(status: int) -> None:
    """End this process if it has joined others, together with them; else return.

    The interpreter would take gloo's connections down while it collects garbage, and now and then that waits for ever
    for a process that has gone already.
    """
    if not jax.distributed.is_initialized():
        return
    with suppress(RuntimeError):  # another one was killed
        jax.distributed.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def is_first() -> bool:
    """Whether this process writes the files and speaks to the person."""
    return jax.process_index() == 0


def gather(tree: PyTree) -> PyTree:
    """Copy arrays that are spread over the devices of all processes, whole, to the host of each process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Which flags are set in any process."""
    if jax.process_count() == 1:
        return flags
    from jax.experimental import multihost_utils

    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())


def least(number: int) -> int:
    """The smallest number that any process has, to seven digits."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.float32(number)).min())


def from_first(make: Callable[[], Result], like: Callable[[], Result]) -> Result:
    """Hand to all processes what the first one makes: arrays of the shapes and types of `like`."""
    if jax.process_count() == 1:
        return make()
    from jax.experimental import multihost_utils

    made = by_first(make)
    return multihost_utils.broadcast_one_to_all(made if is_first() else like())


def by_first(work: Callable[[], Result]) -> Result | None:
    """Let the first process do the work; the others get None. If it is refused, all processes end.

    Raises:
        InputError: in the first process that of `work`; in the others one that refers to it.
    """
    result, error = None, None
    if is_first():
        try:
            result = work()
        except InputError as refused:
            error = refused
    (failed,) = any_of(error is not None)
    if failed:
        raise error or InputError("the first process was refused; it says why")
    return result
