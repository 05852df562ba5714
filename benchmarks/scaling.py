"""Interactions per second against lanes, virtual devices, batch, arms, rank and the size of the catalogue.

LinUCB on concatenated features over generated factor tables; one size changes at a time. JSON lines, and a picture of
them. About four minutes on two cores.
Run: python benchmarks/scaling.py [--out benchmarks/results/scaling.jsonl]      (--plot draws an old file again)
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measuring import Report, Runner, lanes_runner, rates, timed

from jaxbandit.agents import AGENTS
from jaxbandit.data import Ratings
from jaxbandit.data.ratings import Truth
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.simulation.lanes import Simulation

BASE = {"configurations": 1, "seeds": 1, "batch_size": 128, "num_actions": 20, "rank_k": 20, "items": 1682}
LANES = (1, 4, 16, 64, 256, 1024)
SWEEPS: dict[str, list[dict[str, int]]] = {  # panel: what differs from BASE at each of its points
    "configurations": [{"configurations": n} for n in LANES],
    "seeds": [{"seeds": n} for n in LANES],
    "devices": [{"devices": n, "configurations": 8, "seeds": 8} for n in (1, 2, 4, 8)],
    "batch_size": [{"batch_size": n} for n in (8, 32, 128, 512, 2048, 8192, 32768)],
    "num_actions": [{"num_actions": n} for n in (2, 5, 10, 20, 50, 100, 200)],
    "rank_k": [{"rank_k": n} for n in (5, 10, 20, 40, 80)],
    "items": [{"items": n} for n in (1682, 3706, 10_000, 27_000, 59_047, 87_585)],
}
USERS, BIASES, TARGET_SECONDS, REPEATS = 943, 2, 0.5, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the lines to this file, and the picture beside it")
    parser.add_argument("--only", help="measure this series alone", choices=SWEEPS)
    parser.add_argument("--plot", type=Path, help="measure nothing, draw the lines of this file again")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)  # a subprocess of its own
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure([arguments.point])[0]))
        return
    if arguments.plot is None:
        report = Report(arguments.out)
        for series in [arguments.only] if arguments.only else SWEEPS:
            for point in devices(SWEEPS[series]) if series == "devices" else measure(SWEEPS[series]):
                report.add(series=series, value=point[series], **point)
        report.write()
    drawn = arguments.plot or arguments.out
    if drawn:
        import scaling_plot

        scaling_plot.plot(drawn, drawn.with_suffix(".png"))


def devices(points: list[dict[str, int]]) -> Iterator[dict[str, Any]]:
    """The number of virtual devices is fixed when JAX starts, so each has a process of its own."""
    for changes in points:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={changes['devices']}"
        command = [sys.executable, __file__, "--point", json.dumps(changes)]
        got = subprocess.run(
            command, env=os.environ | {"XLA_FLAGS": flags}, stdout=subprocess.PIPE, text=True, check=True
        )
        yield json.loads(got.stdout.splitlines()[-1])


def measure(points: list[dict[str, int]]) -> list[dict[str, Any]]:
    """Compile all points, then run them in turns, about half a second each time."""
    sizes = [BASE | changes for changes in points]
    lanes = [prepare(size) for size in sizes]
    works, counts = [], []
    for runner in lanes:
        two_rounds = min(timed([partial(runner.advance, 2)], 2)[0])
        counts.append(max(2, min(20_000, int(2 * TARGET_SECONDS / two_rounds))))
        works.append(partial(runner.advance, counts[-1]))
    return [
        size | {"rounds": count, "compile_seconds": runner.compile_seconds} | rates(runner.per_round * count, seconds)
        for size, count, runner, seconds in zip(sizes, counts, lanes, timed(works, REPEATS), strict=True)
    ]


def prepare(size: dict[str, int]) -> Runner:
    simulation = make_world(size["items"], size["rank_k"], size["num_actions"])
    return lanes_runner(simulation, **{name: size[name] for name in ("batch_size", "configurations", "seeds")})


@cache
def make_world(items: int, rank_k: int, num_actions: int) -> Simulation:
    """mf-per-arm of random factors, and LinUCB for it. Two of the `rank_k` columns are biases."""
    environment, params = ENVIRONMENTS["mf-per-arm"](tables(items, rank_k), factorizer="truth", num_actions=num_actions)
    assert environment.spec.user_dim == environment.spec.arm_dim == rank_k
    grid = {"alpha": jnp.ones(1), "tikhonov_weight": jnp.ones(1)}
    return Simulation(environment, params, partial(AGENTS["linucb"], environment.spec), grid, 1)


def tables(items: int, rank_k: int) -> Ratings:
    """Utilities of a world without ratings to fit, but for one that says how they are laid out."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    rank = rank_k - BIASES
    truth = Truth(3.5, normal(USERS), normal(items), normal(USERS, rank), normal(items, rank))
    one = np.zeros(1, np.int32)
    ids = {"user_ids": np.arange(USERS), "item_ids": np.arange(items)}
    return Ratings("generated", one, one, np.ones(1, np.float32), **ids, low=1.0, high=5.0, truth=truth)


if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)
    main()
