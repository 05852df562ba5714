"""The picture of scaling.py's JSON lines: one panel for each size that was changed. It measures nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

INK, GREY, GRID = "#222222", "#6e6e6e", "#e8e8e8"
BLUE, ORANGE = "#0072b2", "#d55e00"
PANELS = {  # title: series and their colours
    "Lanes": {"configurations": BLUE, "seeds": ORANGE},
    "Virtual devices": {"devices": BLUE},
    "Batch: users between two updates": {"batch_size": BLUE},
    "Arms offered to a user": {"num_actions": BLUE},
    "Rank: features of a user and of an arm": {"rank_k": BLUE},
    "Items in the catalogue": {"items": BLUE},
}
SUBTITLE = (
    "LinUCB on concatenated features in mf-per-arm; where nothing else is said 1 lane, batch 128, 20 arms, rank 20, "
    "1,682 items"
)
LABELS = {"configurations": "configurations of one seed", "seeds": "seeds of one configuration"}


def plot(source: Path, target: Path) -> None:
    """Draw interactions per second, and the cost of one, against each size. All panels have the same vertical axis."""
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    figure = Figure(figsize=(11.5, 7.0))
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 3, sharey=True)
    figure.subplots_adjust(left=0.075, right=0.925, bottom=0.145, top=0.83, hspace=0.5, wspace=0.1)
    for index, (axis, title) in enumerate(zip(panels.flat, PANELS, strict=True)):
        draw(axis, title, lines)
        costs(axis, labelled=index % 3 == 2)
    for row in panels:
        row[0].set_ylabel("interactions per second", color=INK, fontsize=10)
    figure.text(0.02, 0.955, "What an interaction costs", fontsize=15, weight="bold", color=INK)
    figure.text(0.02, 0.915, SUBTITLE, fontsize=10.5, color=GREY)
    figure.text(0.02, 0.022, notes(lines[0]), fontsize=9.5, color=GREY, linespacing=1.4)
    figure.savefig(target, dpi=150, facecolor="white")


def draw(axis: Axes, title: str, lines: list[dict[str, Any]]) -> None:
    ticks: list[int] = []
    for series, colour in PANELS[title].items():
        points = [line for line in lines if line["series"] == series]
        x = [point["value"] for point in points]
        rate, low, high = ([p[k] for p in points] for k in ("interactions_per_second", "slowest", "fastest"))
        axis.plot(x, rate, "o-", color=colour, linewidth=1.9, markersize=5, zorder=3, label=LABELS.get(series))
        axis.vlines(x, low, high, color=colour, linewidth=4, alpha=0.25, zorder=2)
        ticks = x if len(x) > len(ticks) else ticks
    axis.set(xscale="log", yscale="log")
    axis.set_title(title, loc="left", fontsize=11, color=INK, pad=8)
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y", which="major", color=GRID, linewidth=1)
    axis.grid(axis="y", which="minor", color=GRID, linewidth=0.4)
    style(axis)
    if len(PANELS[title]) > 1:
        axis.legend(frameon=False, fontsize=9.5, labelcolor=INK, loc="lower right", borderaxespad=0.2)


def costs(axis: Axes, labelled: bool) -> None:
    """The reciprocal on the right: microseconds per interaction."""
    right = axis.secondary_yaxis("right", functions=(reciprocal, reciprocal))
    right.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if labelled else ""))
    right.yaxis.set_minor_formatter(NullFormatter())
    right.tick_params(colors=GREY, labelsize=9, length=0, which="both")
    right.spines["right"].set_visible(False)
    if labelled:
        right.set_ylabel("µs per lane-interaction", color=INK, fontsize=10)


def reciprocal(value: np.ndarray) -> np.ndarray:
    """Per second <-> microseconds each."""
    return 1e6 / np.maximum(value, 1e-9)


def style(axis: Axes) -> None:
    axis.tick_params(colors=GREY, labelsize=9, length=3, which="major")
    axis.tick_params(length=0, which="minor")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(GREY)
    axis.set_axisbelow(True)


def short(value: float) -> str:
    """1682 -> 1,682; 87585 -> 88k; 1000000 -> 1M."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value:,.0f}"


def notes(line: dict[str, Any]) -> str:
    cores = f"{line['cpus']} cores" if line["platform"] == "cpu" else f"1 {line['device']}"
    return (
        f"Points: medians of {line['repeats']} repeats, bars: slowest to fastest. {line['device']}, {cores}, "
        f"jax {line['jax']}, generated factors.\n"
        f"Virtual devices share the same {cores}: 8 configurations x 8 seeds, seeds spread over the devices."
    )
