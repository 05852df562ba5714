"""All agents beside each other: regret after equal interactions, and after equal seconds.

Each agent at its defaults, four seeds as lanes of one program, 128 users between two updates, rewards from `als` on the
generated ratings. Agents run in the first of WORLDS that they take, linucb in two of them.
Regret is that of the last tenth, in percent of uniform's; seconds are those of all four lanes, without compilation.
JSON lines, and a picture of them. About fifteen minutes on two cores.
Run: python benchmarks/agents.py [--out benchmarks/results/agents.jsonl] [--agents linucb lints]   (--plot draws again)
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measuring import Report
from scaling_plot import BLUE, GREY, GRID, INK, ORANGE, short, style

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build, make_environment
from jaxbandit.simulation import lanes
from jaxbandit.simulation.lanes import Simulation
from jaxbandit.simulation.metrics import mean_stderr

WORLDS = {
    "mf-per-arm": "arms with features",
    "mf": "fixed arms",
    "cascade": "slates",
}
LINK = "linucb"
VARIANTS: dict[tuple[str, str], list[dict[str, Any]]] = {  # beside the defaults
    ("linucb", "mf-per-arm"): [{"features": "hadamard", "add_bias": True}],
    ("lints", "mf-per-arm"): [{"features": "hadamard", "add_bias": True}],
}
BOUNDS = {"uniform", "oracle"}  # learn nothing
BATCH, SEEDS, ROUNDS, SECONDS = 128, 4, 1_000, 4.0
MOST_ROUNDS = 20 * ROUNDS  # of the agents that cost next to nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the lines to this file, and the picture beside it")
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--plot", type=Path, help="measure nothing, draw the lines of this file again")
    arguments = parser.parse_args()
    if arguments.plot is None:
        report, made = Report(arguments.out), {env: make_environment(checked(Config(env=env)).world) for env in WORLDS}
        for agent in [agent for agent in arguments.agents if agent not in BOUNDS]:
            for world in worlds(agent, made):
                report.add(**measure(*world, arguments.rounds, arguments.seconds))
        report.write()
    drawn = arguments.plot or arguments.out
    if drawn:
        plot([json.loads(line) for line in drawn.read_text().splitlines()], drawn.with_suffix(".png"))


def worlds(agent: str, made: dict[str, tuple[Any, Any]]) -> Iterator[tuple[str, Config, Simulation]]:
    """Label, configuration and objects of each run of an agent."""
    for env, environment in made.items():
        taken = False
        for settings in ({}, *VARIANTS.get((agent, env), ())):
            config = checked(Config(env=env, agent=agent, batch_size=BATCH, agent_settings=settings))
            with suppress(InputError):
                simulation = build(config, made=environment)
                taken = True
                yield (
                    ", ".join([agent, *(value if name == "features" else name for name, value in settings.items())]),
                    config,
                    simulation,
                )
        if taken and agent != LINK:
            return


def measure(label: str, config: Config, simulation: Simulation, rounds: int, seconds: float) -> dict[str, Any]:
    """Run for so many rounds, and, at the speed that this had, for so many seconds."""
    started = time.perf_counter()
    program = lanes.compile_lanes(jax.random.key(0), simulation, num_seeds=SEEDS, num_points=2)
    compiled = time.perf_counter() - started

    def run(length: int) -> dict[str, Any]:
        carry = jax.block_until_ready(program.begin())
        start = time.perf_counter()
        _, sums = jax.block_until_ready(program.advance(carry, np.array([0, length - max(1, length // 10), length])))
        spent = time.perf_counter() - start
        regret, by_chance = (
            np.asarray(x, np.float64)[:SEEDS, 0, -1] for x in (sums.regret, sums.optimal - sums.uniform)
        )
        mean, stderr = mean_stderr(100 * regret / by_chance)
        return {"interactions": length * BATCH, "seconds": spent, "regret": float(mean), "stderr": float(stderr)}

    equal = run(rounds)
    timed = run(int(np.clip(seconds * rounds / equal["seconds"], 10, MOST_ROUNDS)))
    names = {"label": label, "agent": config.agent, "env": config.env, "seeds": SEEDS, "batch_size": BATCH}
    return names | {"equal_interactions": equal, "equal_seconds": timed, "compile_seconds": compiled}


def plot(lines: list[dict[str, Any]], target: Path) -> None:
    """A row for each run, a panel for each comparison; the better ones of a world are higher."""
    rows: list[dict[str, Any] | str] = []
    for env, what in WORLDS.items():
        rows.append(f"{env}: {what}")
        rows += sorted((x for x in lines if x["env"] == env), key=lambda x: x["equal_interactions"]["regret"])
    figure = Figure(figsize=(11.0, 1.9 + 0.25 * len(rows)))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, sharex=True)
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.25, right=0.985, bottom=0.72 / height, top=1 - 1.15 / height, wspace=0.06)
    first, spent = lines[0]["equal_interactions"]["interactions"], [x["equal_seconds"]["seconds"] for x in lines]
    panel(left, rows, "equal_interactions", BLUE, f"after {short(first)} interactions of each seed")
    panel(right, rows, "equal_seconds", ORANGE, f"after about {np.median(spent):.0f} seconds of computing")
    left.set_yticks(range(len(rows)), [row if isinstance(row, str) else row["label"] for row in rows])
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        label.set(color=INK, fontsize=9.5, weight="bold" if isinstance(row, str) else "normal")
    left.invert_yaxis()
    where = f"{lines[0]['device']}, {lines[0]['cpus']} cores, jax {lines[0]['jax']}"
    figure.text(
        0.02,
        1 - 0.42 / height,
        "All agents, at their defaults where nothing is said",
        fontsize=15,
        weight="bold",
        color=INK,
    )
    text = f"regret of the last tenth, uniform = 100; {SEEDS} seeds, batch {BATCH}, bars are 2 s.e.; {where}"
    figure.text(0.02, 1 - 0.7 / height, text, fontsize=10.5, color=GREY)
    figure.savefig(target, dpi=150, facecolor="white")


def panel(axis: Axes, rows: list[dict[str, Any] | str], which: str, colour: str, title: str) -> None:
    axis.axvline(100, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    for place, row in enumerate(rows):
        if isinstance(row, str):
            continue
        got = row[which]
        axis.plot([got["regret"]], [place], "o", color=colour, markersize=6, zorder=3)
        axis.hlines(
            place, got["regret"] - 2 * got["stderr"], got["regret"] + 2 * got["stderr"], color=colour, linewidth=2
        )
    axis.set(xscale="log", xlabel="percent of uniform's regret")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_title(title, loc="left", fontsize=11, color=INK, pad=8)
    axis.grid(axis="both", which="major", color=GRID, linewidth=0.8)
    style(axis)


if __name__ == "__main__":
    main()
