"""On a machine with a GPU: does jaxbandit give the numbers of the CPU there, how fast is it, and is it as predicted?

One JSON line for each finding. Sections run in processes of their own, each with a time limit, the most valuable first:
a crash or a hang costs that section alone. Eight minutes for all of them. --tiny tries it where there is no GPU.
Run: python benchmarks/accelerators/gpu_check.py [--out DIR] [--budget 480] [--only rates] [--tiny]
The lines are in DIR/gpu_check.jsonl, a trace of the flagship beside them. To have prediction and measurement side by
side in docs/accelerators.md: cp DIR/gpu_check.jsonl benchmarks/results/, then python benchmarks/report.py
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import jax
import numpy as np
from cases import CASES, Case, simulation_of
from measuring import RESULTS, Report, rates

from jaxbandit._core import prng
from jaxbandit.simulation import lanes

FLAGSHIP, ONE_LANE = "linucb concat 64x16", "linucb concat 1x1"
ROUNDS = {  # of one repeat; from what the compiler's program lets expect, about a second or less
    FLAGSHIP: 1000,
    ONE_LANE: 2000,
    "linucb concat 1x1 batch 4096": 2000,
    "linucb concat 128x8": 1000,
    "neural-epsilon-greedy 64x16": 300,
    "linucb outer 8x8": 200,
    "agent lints": 1000,
    "agent cascade-linucb": 1000,
    "agent exp3": 1000,
    "agent neural-linucb": 300,
}
PARITY = {FLAGSHIP: 100, "agent lints": 100, "agent exp3": 100, "neural-epsilon-greedy 64x16": 20}  # rounds
FLAGS = {
    "default": "",
    "no graphs": "--xla_gpu_enable_command_buffer=",
    "graphs of loops": "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL",
    "graphs from one kernel": "--xla_gpu_graph_min_graph_size=1",
    "no autotuning": "--xla_gpu_autotune_level=0",
}
PARITY_BOUND = 1e-3  # of mean regret, relative: sums in another order flip a near-tie now and then
REPEATS, TRACED_ROUNDS, ENOUGH = 5, 5, 20.0
TINY = {"configurations": 2, "seeds": 2, "rounds": 3, "batch_size": 64}


class Running:
    """The compiled lanes of a case on one device, and their state."""

    def __init__(self, name: str, device: jax.Device, *, tiny: bool) -> None:
        case: Case = CASES[name]
        if tiny:
            case = case._replace(**{key: min(getattr(case, key), TINY[key]) for key in TINY if key != "rounds"})
        _, simulation = simulation_of(case)
        started = time.perf_counter()
        self.lanes = lanes.compile_lanes(
            jax.random.key(0), simulation, num_seeds=case.seeds, num_points=1, devices=[device]
        )
        self.compile_seconds = time.perf_counter() - started
        self.carry, self.round = self.lanes.begin(), 0
        self.per_round = case.configurations * case.seeds * case.batch_size

    def advance(self, rounds: int) -> Any:
        edges = np.array([self.round, self.round + rounds])
        self.carry, metrics = jax.block_until_ready(self.lanes.advance(self.carry, edges))
        self.round += rounds
        return metrics

    def seconds(self, rounds: int) -> float:
        started = time.perf_counter()
        self.advance(rounds)
        return time.perf_counter() - started


def versions(report: Report, tiny: bool) -> None:
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    report.add(bytes_limit=stats.get("bytes_limit"), platform_version=device.client.platform_version)


def draws(report: Report, tiny: bool) -> None:
    """Random words, users and arms on the accelerator and on this machine's CPU: they must be equal to the bit."""
    _, simulation = simulation_of(CASES[FLAGSHIP])
    environment = simulation.environment

    def drawn(key: jax.Array, params: Any) -> dict[str, jax.Array]:
        context, _ = environment.observe(key, params, environment.init(key, params), 128)
        words = {"words": prng.bits(key, (1000, 20)), "keys": jax.random.key_data(prng.split(key, 4))}
        return words | {"users": context.user_id, "arms": context.arm_id}

    one, other = (
        jax.tree.map(np.asarray, jax.jit(drawn)(*jax.device_put((jax.random.key(7), simulation.params), device)))
        for device in both()
    )
    report.add(equal={name: bool(np.array_equal(one[name], other[name])) for name in one})


def parity(report: Report, tiny: bool) -> None:
    """Mean regret of the same seeds on both."""
    for name, rounds in PARITY.items():
        mine, theirs = (
            np.asarray(Running(name, device, tiny=tiny).advance(3 if tiny else rounds).regret, np.float64)
            for device in both()
        )
        relative = abs(mine.mean() - theirs.mean()) / abs(theirs.mean())
        same = float(np.mean(mine == theirs))
        regret = {"accelerator": mine.mean(), "cpu": theirs.mean()}
        report.add(case=name, regret=regret, relative=relative, lanes_equal=same, kept=bool(relative < PARITY_BOUND))


def both() -> tuple[jax.Device, jax.Device]:
    return jax.devices()[0], jax.devices("cpu")[0]


def speed(report: Report, tiny: bool) -> None:
    for name in list(ROUNDS)[: 2 if tiny else None]:
        report.add(case=name, **timed(name, tiny))


def timed(name: str, tiny: bool) -> dict[str, Any]:
    """Rate of a case, with its compilation and its first calls, which record graphs, apart."""
    running, rounds = Running(name, jax.devices()[0], tiny=tiny), TINY["rounds"] if tiny else ROUNDS[name]
    first = running.seconds(2) + running.seconds(2)
    slow = running.seconds(2) / 2 * rounds > ENOUGH
    seconds = [running.seconds(rounds) for _ in range(1 if slow else REPEATS)]
    return {
        "rounds": rounds,
        **rates(running.per_round * rounds, seconds),
        "us_per_round": float(np.median(seconds)) / rounds * 1e6,
        "compile_seconds": running.compile_seconds,
        "first_calls_seconds": first,
        "predicted": predicted(name),
    }


def predicted(name: str) -> dict[str, Any]:
    """What benchmarks/accelerators/compile.py says of this case on an H100."""
    path = RESULTS / "accelerators.jsonl"
    for line in map(json.loads, path.read_text().splitlines() if path.exists() else ()):
        if line["case"] == name and line["target"] == "h100" and not line["plain"]:
            return {key: line.get(key) for key in ("us_per_round", "kernels_per_round", "graphs_per_round")}
    return {}


def profile(report: Report, tiny: bool) -> None:
    """Kernels of a round as the card ran them: how many, how long, and which are the dearest."""
    for name in [FLAGSHIP] if tiny else [FLAGSHIP, ONE_LANE, "neural-epsilon-greedy 64x16", "linucb outer 8x8"]:
        running = Running(name, jax.devices()[0], tiny=tiny)
        running.advance(3)
        running.advance(3)
        place = Path("trace") / name.replace(" ", "_")
        with jax.profiler.trace(str(place), create_perfetto_trace=name == FLAGSHIP):
            wall = running.seconds(TRACED_ROUNDS)
        report.add(
            case=name,
            wall_us_per_round=wall / TRACED_ROUNDS * 1e6,
            **kernels(place),
            predicted=predicted(name),
        )


def kernels(place: Path) -> dict[str, Any]:
    spent: collections.Counter[str] = collections.Counter()
    number: collections.Counter[str] = collections.Counter()
    for event in events(place):
        spent[event.name] += event.duration_ns
        number[event.name] += 1
    return {
        "kernels_per_round": number.total() / TRACED_ROUNDS,
        "busy_us_per_round": spent.total() / TRACED_ROUNDS / 1e3,
        "dearest": [
            {"name": name, "times": number[name] / TRACED_ROUNDS, "us": ns / TRACED_ROUNDS / 1e3}
            for name, ns in spent.most_common(20)
        ],
    }


def events(place: Path) -> Iterator[Any]:
    """Kernels on the streams of GPUs; none on a CPU."""
    for file in place.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines if "GPU" in plane.name.upper() else ():
                if line.name.startswith("Stream"):
                    yield from line.events


def flags(report: Report, tiny: bool) -> None:
    """The flagship and one lane under flags of XLA, each in a process of its own."""
    for label, value in list(FLAGS.items())[: 2 if tiny else None]:
        variables = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {value}".strip()}
        for line in section("flag", tiny, 400 if tiny else 60, variables):
            report.add(**line | {"flag": label, "value": value})


def flag(report: Report, tiny: bool) -> None:
    for name in (FLAGSHIP, ONE_LANE)[: 1 if tiny else 2]:
        report.add(case=name, **timed(name, tiny))


Work = Callable[[Report, bool], None]
SECTIONS: dict[str, tuple[Work, int]] = {  # what it does, most seconds; the most valuable first
    "versions": (versions, 60),
    "draws": (draws, 60),
    "parity": (parity, 120),
    "rates": (speed, 180),
    "profile": (profile, 90),
    "flags": (flags, 180),
}


def section(name: str, tiny: bool, seconds: float, variables: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Run a section in a process of its own; yield its findings, and how it ended where that is not well."""
    command = [sys.executable, Path(__file__).resolve(), "--section", name, *["--tiny"] * tiny]
    environment = {"JAX_PLATFORMS": "cpu" if tiny else "cuda,cpu"} | os.environ | (variables or {})
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\nstopped after {seconds:.0f} s"
    for line in out.splitlines():
        if line.startswith("{"):
            yield {"section": name} | json.loads(line)
    if process.returncode:
        yield {"section": name, "error": err.strip().splitlines()[-3:], "seconds": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="directory for the lines and the trace")
    parser.add_argument("--budget", type=float, default=480, help="seconds for all sections")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--tiny", action="store_true", help="few lanes and rounds, on the CPU")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.section:
        work = flag if arguments.section == "flag" else SECTIONS[arguments.section][0]
        work(Report(None), arguments.tiny)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    os.chdir(arguments.out)
    ends, failed = time.perf_counter() + arguments.budget, False
    with Path("gpu_check.jsonl").open("w") as file:
        for name in arguments.only:
            most = min(SECTIONS[name][1] * (10 if arguments.tiny else 1), max(1.0, ends - time.perf_counter()))
            for line in section(name, arguments.tiny, most):
                failed |= "error" in line
                print(json.dumps(line), file=file, flush=True)
                print(json.dumps(line), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
