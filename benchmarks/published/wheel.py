"""Cumulative regret in the wheel bandit, uniform = 100, beside the published numbers.

80,000 contexts, an update after each one; mean and standard error over seeds, which are lanes of one program. Regret is
the pseudo-regret, that of uniform its expectation on the same contexts. Noise as in the paper's code: .05, and .01 for
the reward of 50. neural-linear-ts takes nearly all of the time: a seed of one delta about 5.5 minutes of one core, so
that the default is an hour of two. Published: Riquelme et al. 2018 as quoted by Ravi & Beatson 2019, 50 trials.
Run: python benchmarks/published/wheel.py [--out FILE] [--seeds 3 --contexts 80000 --deltas .5 .9 --agents linucb]
"""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={len(os.sched_getaffinity(0))}")

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from measuring import Report

from jaxbandit._core.hyperparameters import hyperparameters, validate
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.simulation import lanes
from jaxbandit.simulation.metrics import mean_stderr

DELTAS = (0.5, 0.7, 0.9, 0.95, 0.99)
# What differs from an agent's defaults. A new agent is one more line.
SETTINGS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "linucb": {"add_bias": True},
    "nig-lints": {},
    "neural-ts": {},
    "neural-linear-ts": {},
}
PUBLISHED = {("neural-linear-ts", 0.5): (0.95, 0.02), ("neural-linear-ts", 0.9): (4.65, 0.18)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--contexts", type=int, default=80_000)
    parser.add_argument("--deltas", type=float, nargs="+", default=DELTAS)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(SETTINGS))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the agents")
    arguments = parser.parse_args()
    report = Report(arguments.out)
    changes = dict(pair.split("=") for pair in arguments.set)
    for agent in arguments.agents:
        for delta in arguments.deltas:
            report.add(**measure(agent, delta, changes, arguments.seeds, arguments.contexts))
    report.write()


def measure(agent: str, delta: float, changes: dict[str, str], seeds: int, contexts: int) -> dict[str, Any]:
    """Regret of one agent for one delta: percent of uniform's, over seeds."""
    known = hyperparameters(AGENTS[agent])
    defaults = SETTINGS.get(agent, {}) | ({"buffer_size": contexts} if "buffer_size" in known else {})
    settings = defaults | validate("agent", agent, AGENTS[agent], changes)
    grid = {name: jnp.full(1, settings.pop(name, s.default)) for name, s in known.items() if s.is_traced}
    environment, params = ENVIRONMENTS["wheel"](delta=delta, std=0.05, rim_std=0.01)
    factory = partial(AGENTS[agent], environment.spec, **settings)
    started = time.perf_counter()
    simulation = lanes.Simulation(environment, params, factory, grid, batch_size=1)
    program = lanes.compile_lanes(jax.random.key(0), simulation, num_seeds=seeds, num_points=2)
    compiled = time.perf_counter()
    _, sums = jax.block_until_ready(program.advance(program.begin(), np.array([0, contexts // 2, contexts])))
    regret, of_uniform = (np.asarray(x, np.float64)[:seeds, 0] for x in (sums.regret, sums.optimal - sums.uniform))
    mean, stderr = mean_stderr(100 * regret.sum(axis=-1) / of_uniform.sum(axis=-1))
    published = PUBLISHED.get((agent, delta), (None, None))
    return {
        "agent": agent,
        "delta": delta,
        "contexts": contexts,
        "seeds": seeds,
        "regret": float(mean),
        "stderr": float(stderr),
        "second_half": float(100 * np.mean(regret[:, 1] / of_uniform[:, 1])),
        "published": published[0],
        "published_stderr": published[1],
        "each": [round(float(x), 3) for x in 100 * regret.sum(axis=-1) / of_uniform.sum(axis=-1)],
        "settings": settings | {name: float(value[0]) for name, value in grid.items()},
        "compile_seconds": compiled - started,
        "seconds": time.perf_counter() - compiled,
    }


if __name__ == "__main__":
    main()
