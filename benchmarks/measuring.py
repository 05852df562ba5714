"""What the benchmarks share: lanes ready to run, timings in turns, and JSON lines that say where they were made."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.simulation import lanes

RESULTS = Path(__file__).parent / "results"
ALPHAS = (0.01, 30.0)  # ends of the values of alpha that a sweep tries


class Runner(NamedTuple):
    """Compiled lanes and their state."""

    advance: Callable[[int], None]  # (rounds) advance all lanes, and wait for the result
    per_round: int  # users served in a round, over all lanes
    compile_seconds: float


def lanes_runner(simulation: lanes.Simulation, *, batch_size: int, configurations: int = 1, seeds: int = 1) -> Runner:
    """Compile `configurations` x `seeds` lanes of a simulation, and run their first two rounds."""
    grid = {name: jnp.broadcast_to(values, (configurations,)) for name, values in simulation.grid.items()}
    if configurations > 1:
        grid["alpha"] = jnp.geomspace(*ALPHAS, configurations)
    started = time.perf_counter()
    simulation = simulation._replace(grid=grid, batch_size=batch_size)
    program = lanes.compile_lanes(jax.random.key(0), simulation, num_seeds=seeds, num_points=1)
    compile_seconds = time.perf_counter() - started
    state = {"carry": program.begin(), "round": 0}

    def advance(rounds: int) -> None:
        edges = np.array([state["round"], state["round"] + rounds])
        carry, _ = jax.block_until_ready(program.advance(state["carry"], edges))
        state.update(carry=carry, round=edges[1])

    advance(2)
    return Runner(advance, configurations * seeds * batch_size, compile_seconds)


def timed(works: Iterable[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Seconds of each repeat of each piece of work; they take turns, so that all of them meet the same disturbances."""
    works = list(works)
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, spent in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            spent.append(time.perf_counter() - start)
    return seconds


def rates(interactions: int, seconds: list[float]) -> dict[str, float]:
    """Median and extremes over the repeats."""
    each = interactions / np.array(seconds)
    return {
        "interactions_per_second": float(np.median(each)),
        "slowest": float(each.min()),
        "fastest": float(each.max()),
        "repeats": len(seconds),
    }


def versions() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": processor() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],  # above the number of CPUs: somebody else was at work as well
        "machine": platform.machine(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def processor() -> str:
    """Name of the CPU, as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


class Report:
    """JSON lines on stdout, and in a file once all of them are there."""

    def __init__(self, out: Path | None) -> None:
        self._out, self._lines = out, []

    def add(self, **line: Any) -> None:
        self._lines.append(json.dumps(versions() | line))
        print(self._lines[-1], flush=True)

    def write(self) -> None:
        if self._out:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._out.write_text("".join(f"{line}\n" for line in self._lines))
