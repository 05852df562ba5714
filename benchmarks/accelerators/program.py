"""Compile one case for one target and print one JSON line: the part of compile.py that runs in a process of its own."""

import argparse
import json
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cases
import gpu
import jax
import targets
import tpu

from jaxbandit._core import platforms
from jaxbandit.simulation import lanes

MICROSECONDS_PER_ROUND = "us_per_round"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="target", required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--chips", type=int, required=True)
    parser.add_argument("--dumps", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--compiler", required=True)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_traceback_in_locations_limit", -1)
    case, target = cases.CASES[arguments.case], targets.TARGETS[arguments.target]
    line = compiled(case, target, arguments)
    print(json.dumps(line))


def compiled(case: cases.Case, target: targets.Target, arguments: argparse.Namespace) -> dict[str, Any]:
    env, simulation = cases.simulation_of(case)
    devices = targets.devices(target, arguments.target, arguments.chips)
    tile = lanes.layout(case.configurations, case.seeds, num_devices=len(devices))[0]
    if arguments.plain:  # what is traced then takes the target for a CPU
        platforms.compiling_for = partial(lambda compiling_for, *_: compiling_for("cpu"), platforms.compiling_for)
    started = time.perf_counter()
    _, lowered = lanes.lower_program(
        simulation, tile.config.shape, key_impl="threefry2x32", num_points=2, devices=devices
    )
    middle = time.perf_counter()
    program = lowered.compile()
    ended = time.perf_counter()
    text, memory = program.as_text(), program.memory_analysis()
    arguments.dumps.with_suffix(".hlo.txt").write_text(text)
    counted = (tpu if target.platform == "tpu" else gpu).summary(text, arguments.dumps)
    if target.platform == "tpu":
        counted[MICROSECONDS_PER_ROUND] = counted["cycles_per_round"] / target.gigahertz / 1e3
    number = case.configurations * case.seeds
    rate = number * case.batch_size / counted[MICROSECONDS_PER_ROUND] / len(devices) * 1e6
    names = {"temporary": "temp", "arguments": "argument", "results": "output", "shared": "alias"}
    return {
        "by": f"compiler's model: {arguments.compiler} {version(arguments.compiler)}",
        "agent": case.agent,
        "env": env,
        "lanes": number,
        "rows": list(tile.config.shape),
        "batch_size": case.batch_size,
        "lower_seconds": middle - started,
        "compile_seconds": ended - middle,
        "megabytes": {name: getattr(memory, f"{field}_size_in_bytes") / 1e6 for name, field in names.items()},
        **counted,
        "lane_interactions_per_second_per_chip": rate,
    }


if __name__ == "__main__":
    main()
