"""A finished sweep -> a picture: the metric against every swept setting, and the learning curves of the best."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
from etils import epath

from jaxbandit.reporting import style
from jaxbandit.reporting.numbers import name_settings
from jaxbandit.reporting.plots import REFERENCE_SERIES, REFERENCES, draw_panel, name_interactions, reduced
from jaxbandit.reporting.results import WHOLE_RUN, setting_column
from jaxbandit.reporting.series import Series
from jaxbandit.reporting.style import GREY, INK
from jaxbandit.reporting.sweep_panel import WORDS, Sweep, axis_of, draw_setting, kept, make_sweep
from jaxbandit.simulation.metrics import Curves

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT, BOTTOM = 3.3, 0.62  # inches
HALF = 4  # agents that fit beside each other on half a page
INSIDE = {1: 28, 2: 62}  # letters of a label that fit beside the curves of a panel of 1 or 2 columns
BELOW = {1: 52, 2: 120}  # letters of a label that fit below such a panel
LETTERS = 98  # that fit into a line of the page


def plot_sweep(
    path: epath.PathLike,
    frame: pl.DataFrame,
    curves_of_best: Mapping[str, Curves | Series],
    *,
    swept: Sequence[str],
    metric: str = "regret",
    title: str,
    dpi: int = 160,
) -> None:
    """Draw `metric` of the configurations in what `tabulate` made against every swept setting, and save a PNG.

    One swept setting: means over seeds ± one standard error. Several: all configurations, and the best at each value.
    None: the agents. Beside them the learning curves of `curves_of_best`, best first, with uniform and optimal.

    Raises:
        InputError: the path cannot be written.
    """
    style.save(draw_sweep(frame, curves_of_best, swept, metric, title), path, dpi)


def draw_sweep(
    frame: pl.DataFrame, curves_of_best: Mapping[str, Curves | Series], swept: Sequence[str], metric: str, title: str
) -> "Figure":
    """Lay out a panel for every setting, and the learning curves in the rest of the last row of panels."""
    sweep = make_sweep(frame, metric, [name for name in swept if name != "agent"])
    panels, signs = sweep.names or ["agent"], _legend(sweep)
    is_wide = not sweep.names and len(sweep.agents) > HALF
    rows = 2 if is_wide else len(panels) // 2 + 1
    curve_columns = 2 if is_wide or len(panels) % 2 == 0 else 1
    runs = reduced({_wrapped(label, BELOW[curve_columns]): run for label, run in curves_of_best.items()})
    is_below = any(len(line) > INSIDE[curve_columns] for label in runs for line in label.split("\n"))
    bottom = BOTTOM + 0.15 * (_label_lines(sweep, panels[-1]) - 1 if curve_columns == 1 else 0)
    if is_below:
        bottom += 0.25 + 0.19 * sum(label.count("\n") + 1 for label in (*runs, *REFERENCES))
    page = style.open_page(title, list(signs), ROW_HEIGHT * rows - BOTTOM + bottom)
    grid = page.figure.add_gridspec(
        rows, 2, **style.MARGINS, bottom=bottom / page.figure.get_figheight(), top=page.top, hspace=0.52, wspace=0.24
    )
    for index, name in enumerate(panels):
        place = grid[0, :] if is_wide else grid[divmod(index, 2)]
        draw_setting(page.figure.add_subplot(place), sweep, name)
    last = page.figure.add_subplot(grid[-1, :] if curve_columns == 2 else grid[-1, 1])
    _draw_curves(last, sweep, runs, is_below)
    style.write_head(page, _subtitle(sweep), list(signs.values()), list(signs))
    return page.figure


def _label_lines(sweep: Sweep, name: str) -> int:
    return max((label.count("\n") + 1 for label in axis_of(sweep, name).labels), default=1)


def _wrapped(label: str, width: int) -> str:
    return textwrap.fill(label, width, break_on_hyphens=False)


def _subtitle(sweep: Sweep) -> str:
    when = "whole run" if sweep.metric in WHOLE_RUN else "final tenth of the run"
    one = "mean ± standard error over seeds" if sweep.frame["seeds"].max() != 1 else "one seed"
    return f"{when}; {one if len(sweep.names) < 2 else 'a point per configuration, a line through the best ones'}"


def _legend(sweep: Sweep) -> dict[str, "Artist"]:
    """Make the marks of the legend, by label."""
    from matplotlib.lines import Line2D

    dot = partial(Line2D, [], [], linestyle="none", marker="o", color=GREY)
    signs: dict[str, Artist] = {}
    if sweep.names and len(sweep.agents) > 1:
        signs = {agent: dot(color=style.colour(index)) for index, agent in enumerate(sweep.agents)}
    best = sweep.frame.row(0, named=True)
    values = {name: best[setting_column(name)] for name in ("agent", *sweep.names)}
    label = _wrapped(f"best: {name_settings(values, sweep.names)}", LETTERS)
    signs[label] = dot(marker="*", color=style.colour(sweep.best_colour), markersize=13, markeredgewidth=0)
    if not kept(sweep.frame).all():
        signs["dropped earlier, after fewer interactions"] = dot(alpha=0.4, markeredgewidth=0)
    if sweep.frame[sweep.metric].is_nan().any():
        signs["not finite"] = dot(marker="x", markeredgewidth=1.5)
    return signs


def _draw_curves(axis: "Axes", sweep: Sweep, runs: Mapping[str, Series], is_below: bool) -> None:
    """Draw the learning curves of the best, with a legend of their own."""
    curve = sweep.metric if sweep.metric in REFERENCE_SERIES else "regret"
    draw_panel(axis, curve, runs, title=WORDS[curve], first_colour=sweep.best_colour)
    name_interactions(axis)
    write = partial(axis.legend, fontsize=9, labelcolor=INK, handlelength=1.8)
    write = partial(write, facecolor="white", edgecolor="none", framealpha=0.85)  # to be read over lines
    if is_below:
        height = axis.get_window_extent().height / axis.figure.dpi
        legend = write(loc="upper left", bbox_to_anchor=(0.0, -0.62 / height), borderaxespad=0, borderpad=0)
    else:
        legend = write(loc="best")
    style.take_literally(*legend.get_texts())
