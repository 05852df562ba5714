"""Microseconds a round of every agent in the worlds that it takes: where one of them is slow for no good reason.

One lane, 128 users a round, agents and worlds at their defaults; the median over stretches of some .1 s, the first one
left out, and compile seconds apart. A line for each case. About eight minutes on two cores, most of it compilation.
Run: python benchmarks/rounds.py [--out benchmarks/results/rounds.jsonl] [--envs mf wheel] [--agents linucb lints]
"""

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
from measuring import Report, lanes_runner

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build, make_environment

WORLDS = ("mf", "mf-per-arm", "wheel", "cascade")
BATCH, STRETCH, REPEATS = 128, 0.1, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--envs", nargs="+", choices=ENVIRONMENTS, default=list(WORLDS))
    arguments = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are those of a first run
    report = Report(arguments.out)
    for env in arguments.envs:
        made = make_environment(checked(Config(env=env)).world)
        for agent in arguments.agents:
            with suppress(InputError):  # raised before anything is compiled, by agents that this world is not for
                simulation = build(checked(Config(env=env, agent=agent, batch_size=BATCH)), made=made)
                runner = lanes_runner(simulation, batch_size=BATCH)
                spent = microseconds(runner.advance)
                report.add(env=env, agent=agent, batch_size=BATCH, compile_seconds=runner.compile_seconds, **spent)
    report.write()


def microseconds(advance: Callable[[int], None]) -> dict[str, float]:
    """Time some stretches of rounds, as many as fill `STRETCH` seconds each."""
    rounds, seconds = 1, 0.0
    while seconds < STRETCH / 2:  # until a stretch is long enough to tell how many rounds fill one
        rounds *= 2
        seconds = timed(advance, rounds)
    rounds = max(1, round(rounds * STRETCH / seconds))
    each = [timed(advance, rounds) / rounds * 1e6 for _ in range(1 + REPEATS)][1:]
    return {"rounds": rounds, "microseconds": float(np.median(each)), "fastest": min(each), "slowest": max(each)}


def timed(advance: Callable[[int], None], rounds: int) -> float:
    started = time.perf_counter()
    advance(rounds)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
