"""Whole simulations (environment, agent, metrics): interactions per second, compile time, time to start, memory.

One JSON line for each case; a NumPy loop runs in turns with ours in the same process. About four minutes on two cores.
Run: python benchmarks/throughput.py [--ratings ml-100k] [--out benchmarks/results/throughput.jsonl]
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy_linucb
from measuring import Report, lanes_runner, rates, timed

from jaxbandit._core import processes
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.data import load
from jaxbandit.experiments.config import Config, checked, takes_ratings
from jaxbandit.experiments.world import build
from jaxbandit.simulation.lanes import Simulation

REFERENCE = {"env_settings": {"factorizer": "svd"}, "agent_settings": {"alpha": 10.0, "tikhonov_weight": 0.001}}
NEURAL = {"agent": "neural-epsilon-greedy", "agent_settings": {}}
WIDE = {
    "env": "linear-per-arm",
    "env_settings": {"user_dim": 200, "arm_dim": 50, "num_actions": 10},
    "agent_settings": {},
}
# name: changes to the reference's config, batch size, configurations, seeds, rounds of a repeat, repeats
CASES: dict[str, tuple[dict[str, Any], int, int, int, int, int]] = {
    "reference": ({}, 128, 1, 1, 3000, 7),
    "batch 4096": ({}, 4096, 1, 1, 200, 7),
    "sweep": ({}, 128, 64, 16, 20, 7),
    "neural": (NEURAL, 128, 1, 1, 1000, 5),
    "lints": ({"agent": "lints"}, 128, 1, 1, 2000, 5),
    "wide": (WIDE, 1000, 1, 1, 1000, 3),
}
NUMPY_ROUNDS = {"reference": 300, "batch 4096": 10}  # cases with a NumPy loop beside them
FEATURES = ("concat", "hadamard", "outer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", default="synth-100k", help="name or path")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--only", help="measure the cases whose names contain this")
    parser.add_argument(
        "--memory-rounds", type=int, nargs=2, default=(100, 1000), help="lengths of the runs whose memory is compared"
    )
    parser.add_argument("--resident", type=int, help=argparse.SUPPRESS)  # the subprocess that `memory` starts
    arguments = parser.parse_args()
    processes.use_all_cores()  # as the command line does
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are those of a first run
    if arguments.resident:
        print(json.dumps(resident(arguments.ratings, arguments.resident)))
        return
    report, name = Report(arguments.out), load(arguments.ratings).name
    for case in CASES:
        if (arguments.only or case) in case:
            measure(report, arguments.ratings, name, case)
    for case, work in (("compile", compile_times), ("start", start_times), ("memory", memory)):
        if (arguments.only or case) in case:
            work(report, arguments, name)
    report.write()


def world_of(ratings: str, changes: dict[str, Any]) -> Simulation:
    settings = {**REFERENCE, **changes}
    if takes_ratings(settings.get("env", Config.env)):
        settings["ratings"] = ratings
    return build(checked(Config(**settings)))


def measure(report: Report, ratings: str, name: str, case: str) -> None:
    changes, batch_size, configurations, seeds, rounds, repeats = CASES[case]
    simulation = world_of(ratings, changes)
    ours = lanes_runner(simulation, batch_size=batch_size, configurations=configurations, seeds=seeds)
    loop_rounds = NUMPY_ROUNDS.get(case, 0)
    works = [partial(ours.advance, rounds)]
    if loop_rounds:
        works.append(lambda: numpy_linucb.simulate(simulation.params, batch_size, loop_rounds))
    seconds, *others = timed(works, repeats)
    settings = {"agent": changes.get("agent", "linucb"), "env": changes.get("env", "mf-per-arm")}
    settings |= {"batch_size": batch_size, "rounds": rounds}
    settings |= {} if changes is WIDE else {"ratings": name}
    measured = rates(ours.per_round * rounds, seconds) | {"compile_seconds": ours.compile_seconds}
    report.add(case=case, by="jaxbandit", **settings, lanes=configurations * seeds, **measured)
    for spent in others:
        measured = rates(batch_size * loop_rounds, spent)
        report.add(case=case, by="NumPy loop", **settings | {"rounds": loop_rounds}, lanes=1, **measured)


def compile_times(report: Report, arguments: argparse.Namespace, name: str) -> None:
    """The programs of every linear and of every neural agent."""
    neural = [agent for agent in AGENTS if agent.startswith("neural")]
    linear = [agent for agent in AGENTS if "tikhonov_weight" in hyperparameters(AGENTS[agent]) and agent not in neural]
    for case, agents in (("compile", linear), ("compile neural", neural)):
        seconds = {}
        for label, changes in (pair for agent in agents for pair in worlds_to_compile(agent).items()):
            simulation = world_of(arguments.ratings, {"agent_settings": {}, "env_settings": {}, **changes})
            seconds[label] = lanes_runner(simulation, batch_size=128).compile_seconds
        slowest = max(seconds, key=seconds.__getitem__)
        report.add(case=case, ratings=name, slowest=slowest, slowest_seconds=seconds[slowest], seconds=seconds)


def worlds_to_compile(agent: str) -> dict[str, dict[str, Any]]:
    """Changes to the reference's config: fixed arms and each kind of features, as far as the agent takes them."""
    if agent.startswith("cascade"):
        return {f"{agent}, slates": {"agent": agent, "env": "cascade"}}
    worlds = {f"{agent}, fixed arms": {"agent": agent, "env": "mf"}}
    if "features" in hyperparameters(AGENTS[agent]):
        return worlds | {f"{agent}, {f}": {"agent": agent, "agent_settings": {"features": f}} for f in FEATURES}
    return worlds if agent == "hybrid-linucb" else worlds | {f"{agent}, arms with features": {"agent": agent}}


def start_times(report: Report, arguments: argparse.Namespace, name: str) -> None:
    """`jaxbandit run` from the start of its process to its first chunk, with nothing in its cache, and again."""
    with tempfile.TemporaryDirectory() as directory:
        for cache in ("empty", "filled by the run before"):
            report.add(case="start", ratings=Config.ratings, cache=cache, **start_time(Path(directory), cache))


def start_time(directory: Path, cache: str) -> dict[str, float]:
    command = [sys.executable, "-m", "jaxbandit", "run", "--out", str(directory / cache)]
    environment = os.environ | {"JAXBANDIT_CACHE": str(directory / "cache"), "COLUMNS": "200"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    started, seen = time.perf_counter(), {}
    # JAX may say something of its own on stderr; the three kinds of lines below are ours.
    with subprocess.Popen(command, env=environment, **pipes) as run:
        for line in run.stderr:
            for phase in ("building", "compiling", "simulating"):
                if re.match(phase, line):
                    seen.setdefault(phase, time.perf_counter() - started)
        run.wait()
    if run.returncode or len(seen) < 3:
        sys.exit(f"throughput.py: {' '.join(command)} ended with status {run.returncode} after {list(seen)}")
    return {
        "first_chunk_seconds": seen["simulating"],
        "import_seconds": seen["building"],
        "fit_seconds": seen["compiling"] - seen["building"],
        "compile_seconds": seen["simulating"] - seen["compiling"],
    }


def memory(report: Report, arguments: argparse.Namespace, name: str) -> None:
    """Resident peak of 1,024 lanes, each length of run in a process of its own."""
    for rounds in arguments.memory_rounds:
        command = [sys.executable, __file__, "--ratings", arguments.ratings, "--resident", str(rounds)]
        got = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        report.add(case="memory", ratings=name, rounds=rounds, **json.loads(got.stdout.splitlines()[-1]))


def resident(ratings: str, rounds: int) -> dict[str, Any]:
    calls, (changes, batch_size, configurations, seeds, *_) = 10, CASES["sweep"]
    simulation = world_of(ratings, changes)
    size = {"batch_size": batch_size, "configurations": configurations, "seeds": seeds}
    runner = lanes_runner(simulation, **size)
    for _ in range(calls):
        runner.advance(rounds // calls)
    return {"batch_size": batch_size, "lanes": configurations * seeds, "resident_gb": peak_resident() / 1e9}


def peak_resident() -> int:
    """Bytes. Linux hands the parent's peak down to ru_maxrss of a new process, but not to VmHWM."""
    try:
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
