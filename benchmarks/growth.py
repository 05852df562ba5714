"""Growth exponents of cumulative regret in linear worlds: the slope of a line through it on logarithmic axes.

Uniform loses the same in every round, t^1. Theory bounds linucb and lints by about t^.5 in the worst world for the
horizon; here arms differ by more than nothing, so that regret ends as log t and the slope falls below .5 with time: the
later, the more noise (10, where two arms differ by about 1 and 4). One user per round; the line is fitted to the last
two decades of each seed's curve. JSON lines, and a picture of them. About two minutes on two cores.
Run: python benchmarks/growth.py [--out benchmarks/results/growth.jsonl] [--seeds 16 --rounds 100000]
"""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={len(os.sched_getaffinity(0))}")

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measuring import Report
from scaling_plot import BLUE, GREY, GRID, INK, ORANGE, style

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.simulation import lanes
from jaxbandit.simulation.metrics import mean_stderr

COLOURS = {"uniform": GREY, "linucb": BLUE, "lints": ORANGE, "nig-lints": "#009e73"}
WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear: fixed arms": ("linear", {"normalized": True, "sigma": 10.0}),
    "linear-per-arm: arms with features": ("linear-per-arm", {"sigma": 10.0}),
}
POINTS = 41  # on a curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the lines to this file, and the picture beside it")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(COLOURS))
    arguments = parser.parse_args()
    report, lines = Report(arguments.out), []
    for world in WORLDS:
        for agent in arguments.agents:
            lines.append(measure(world, agent, arguments.seeds, arguments.rounds))
            report.add(**lines[-1])
    report.write()
    if arguments.out:
        plot(lines, arguments.out.with_suffix(".png"))


def measure(world: str, agent: str, seeds: int, rounds: int) -> dict[str, Any]:
    """Curve of one agent, and its exponent over seeds."""
    name, settings = WORLDS[world]
    environment, params = ENVIRONMENTS[name](**settings)
    grid = {s.name: jnp.full(1, s.default) for s in hyperparameters(AGENTS[agent]).values() if s.is_traced}
    edges = np.unique(np.r_[0, np.geomspace(max(1, rounds / 1000), rounds, POINTS).round()].astype(np.int32))
    simulation = lanes.Simulation(environment, params, partial(AGENTS[agent], environment.spec), grid, batch_size=1)
    program = lanes.compile_lanes(jax.random.key(0), simulation, num_seeds=seeds, num_points=len(edges) - 1)
    _, sums = program.advance(program.begin(), edges)
    regret = np.cumsum(np.asarray(sums.regret, np.float64)[:seeds, 0], axis=-1)
    late = edges[1:] >= rounds / 100
    exponents = np.polyfit(np.log(edges[1:][late]), np.log(regret[:, late]).T, 1)[0]
    mean, stderr = mean_stderr(exponents)
    return {
        "world": world,
        "settings": settings,
        "agent": agent,
        "seeds": seeds,
        "rounds": rounds,
        "exponent": float(mean),
        "stderr": float(stderr),
        "round": edges[1:].tolist(),
        "regret": regret.mean(axis=0).tolist(),
    }


def plot(lines: list[dict[str, Any]], target: Path) -> None:
    """Draw the mean curves, a panel for each world."""
    figure = Figure(figsize=(11.0, 5.2))
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(WORLDS))
    figure.subplots_adjust(left=0.075, right=0.98, bottom=0.13, top=0.8, wspace=0.18)
    for axis, world in zip(panels, WORLDS, strict=True):
        for line in [line for line in lines if line["world"] == world]:
            label = f"{line['agent']}: {line['exponent']:.2f} ± {line['stderr']:.2f}"
            axis.plot(line["round"], line["regret"], color=COLOURS.get(line["agent"]), linewidth=1.9, label=label)
        axis.set(xscale="log", yscale="log", xlabel="rounds")
        axis.set_title(world, loc="left", fontsize=11, color=INK, pad=8)
        axis.grid(color=GRID, linewidth=0.8)
        axis.legend(frameon=False, fontsize=9.5, labelcolor=INK, loc="upper left")
        style(axis)
    panels[0].set_ylabel("cumulative regret", color=INK)
    seeds = f"mean of {lines[0]['seeds']} seeds, noise 10; behind each name the slope over the last two decades, ± s.e."
    figure.text(0.02, 0.94, "How regret grows", fontsize=15, weight="bold", color=INK)
    figure.text(0.02, 0.885, seeds, fontsize=10.5, color=GREY)
    figure.savefig(target, dpi=150, facecolor="white")


if __name__ == "__main__":
    main()
