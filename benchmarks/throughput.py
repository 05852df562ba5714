"""Interactions per second of whole simulations (environment, agent, metrics) beside a NumPy loop in the same process.

One JSON line for each case: median and spread of repeated runs, compile seconds apart, device and versions.
Run: python benchmarks/throughput.py [--ratings ml-100k] [--out benchmarks/results/throughput.jsonl]
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit import sweep
from jaxbandit.experiment import Config, World, build, checked

REFERENCE = {"env_settings": {"factorizer": "svd"}, "agent_settings": {"alpha": 10.0, "tikhonov_weight": 0.001}}
CASES: dict[str, tuple[dict[str, Any], int, int]] = {  # changes to the config, configurations, rounds
    "linucb, batch 128": ({}, 1, 2000),
    "linucb, batch 4096": ({"batch_size": 4096}, 1, 100),
    "linucb, 64 x 16 lanes, batch 128": ({"seeds": 16}, 64, 20),
    "lints, batch 128": ({"agent": "lints"}, 1, 1000),
    "neural-epsilon-greedy, batch 128": ({"agent": "neural-epsilon-greedy", "agent_settings": {}}, 1, 300),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", default="synth-100k")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    lines = []
    for name, (changes, configurations, rounds) in CASES.items():
        config = checked(Config(**{"ratings": arguments.ratings, "seeds": 1, **REFERENCE, **changes}))
        world = build(config)
        line = {"case": name, "ratings": arguments.ratings, "rounds": rounds, "batch_size": config.batch_size}
        line |= measure(world, config, configurations, rounds, arguments.repeats) | versions()
        print(json.dumps(line), flush=True)
        lines.append(line)
    world = build(checked(Config(ratings=arguments.ratings, **REFERENCE)))
    for batch_size, rounds in ((128, 200), (4096, 10)):
        seconds = timed(lambda b=batch_size, r=rounds: numpy_linucb(world.params, b, r), arguments.repeats)
        line = {"case": f"NumPy loop, batch {batch_size}", "ratings": arguments.ratings, "rounds": rounds}
        line |= {"batch_size": batch_size} | rates(batch_size * rounds, seconds) | versions()
        print(json.dumps(line), flush=True)
        lines.append(line)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("".join(json.dumps(line) + "\n" for line in lines))


def measure(world: World, config: Config, configurations: int, rounds: int, repeats: int) -> dict[str, Any]:
    grid = {name: jnp.broadcast_to(values, (configurations,)) for name, values in world.grid.items()}
    if configurations > 1:
        grid["alpha"] = jnp.geomspace(0.01, 30, configurations)
    started = time.perf_counter()
    lanes = sweep.compile_lanes(
        jax.random.key(0),
        world.environment,
        world.params,
        world.factory,
        grid,
        batch_size=config.batch_size,
        num_seeds=config.seeds,
        num_rows=1,
    )
    compile_seconds = time.perf_counter() - started
    carry, _ = jax.block_until_ready(lanes.advance(lanes.begin(), np.array([0, 2])))
    seconds = []
    for repeat in range(repeats):
        start = time.perf_counter()
        carry, _ = jax.block_until_ready(lanes.advance(carry, 2 + rounds * np.array([repeat, repeat + 1])))
        seconds.append(time.perf_counter() - start)
    num_lanes = configurations * config.seeds
    return {"lanes": num_lanes, "compile_seconds": compile_seconds} | rates(
        num_lanes * config.batch_size * rounds, seconds
    )


def rates(interactions: int, seconds: list[float]) -> dict[str, float]:
    each = interactions / np.array(seconds)
    return {
        "interactions_per_second": float(np.median(each)),
        "slowest": float(each.min()),
        "fastest": float(each.max()),
    }


def timed(work: Callable[[], Any], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def numpy_linucb(params: Any, batch_size: int, rounds: int, num_actions: int = 20) -> float:
    """Vectorised over the batch: the same world, LinUCB on [user; arm], alpha 10, ridge .001, with metrics."""
    rng = np.random.default_rng(0)
    user, item = np.asarray(params.user), np.asarray(params.catalogue.features)
    reward = np.asarray(params.user_reward)
    dim, cut = user.shape[1] + item.shape[1], user.shape[1]
    precision, moment, regret = np.zeros((dim, dim), np.float32), np.zeros(dim, np.float32), 0.0
    for _ in range(rounds):
        u = rng.integers(len(user), size=batch_size)
        v = item[floyd(rng, len(item), batch_size, num_actions)]
        means = np.einsum("br,bkr->bk", reward[u], v)
        cov = np.linalg.inv(precision + 0.001 * np.eye(dim, dtype=np.float32))
        theta = cov @ moment
        x = np.concatenate([np.broadcast_to(user[u][:, None], (*v.shape[:2], cut)), v], axis=2)
        flat = x.reshape(-1, dim)
        variance = ((flat @ cov) * flat).sum(-1).reshape(x.shape[:2])
        score = x @ theta + 10 * np.sqrt(np.maximum(variance, 0))
        best = score.argmax(1)
        taken = np.take_along_axis(means, best[:, None], 1)[:, 0]
        regret += float((means.max(1) - taken).mean())
        chosen = x[np.arange(batch_size), best]
        precision, moment = precision + chosen.T @ chosen, moment + taken @ chosen
    return regret / rounds


def floyd(rng: np.random.Generator, population: int, batch_size: int, count: int) -> np.ndarray:
    """Distinct items for each user without sorting the catalogue (Bentley and Floyd 1987)."""
    drawn = np.empty((count, batch_size), np.int64)
    for i, last in enumerate(range(population - count, population)):
        item = rng.integers(last + 1, size=batch_size)
        drawn[i] = np.where((drawn[:i] == item).any(axis=0), last, item)
    return drawn.T


def versions() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.device_count(),
        "cpus": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
