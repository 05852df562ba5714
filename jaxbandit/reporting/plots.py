"""Learning curves -> a picture, of one run or of several beside each other. Touches no global state of matplotlib."""

import io
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from jaxtyping import Float

from jaxbandit.metrics import Curves, mean_stderr
from jaxbandit.reporting.files import write_bytes
from jaxbandit.reporting.named_series import series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#8c6d31")
STYLES = ("-", "--", "-.", ":")  # a second round of the colours is dashed, and so on
REFERENCES = {"uniform": (4.0, 2.0), "optimal": (1.0, 1.4)}  # name -> dashes
INK, GREY, GRID = "#222222", "#6e6e6e", "#e8e8e8"
TITLES = {
    "regret": "Regret per interaction",
    "average_return": "Average return",
    "cumulative_regret": "Cumulative regret",
    "suboptimal_arms": "Suboptimal arms",
}
REFERENCE_SERIES: dict[str, dict[str, str]] = {
    "regret": {"uniform": "uniform_regret"},
    "average_return": {"uniform": "uniform", "optimal": "optimal"},
    "cumulative_regret": {"uniform": "uniform_cumulative_regret"},
    "suboptimal_arms": {},
}
WIDTH, PANELS_HEIGHT = 10.0, 6.2  # inches; the head above the panels grows with its text
LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "frameon": False,
    "fontsize": 11,
    "labelcolor": INK,
    "borderpad": 0,
    "borderaxespad": 0,
    "handlelength": 1.8,
}


def plot_curves(
    path: epath.PathLike, curves: Curves | Mapping[str, Curves], *, title: str, name: str = "agent", dpi: int = 160
) -> None:
    """Draw regret, average return, cumulative regret and suboptimal arms against interactions, and save a PNG.

    Lines are means over seeds and bands one standard error; uniform and optimal are the references. Several curves are
    labelled by their keys, a single one by `name`.

    Raises:
        InputError: the path cannot be written.
    """
    runs = curves if isinstance(curves, Mapping) else {name: curves}
    buffer = io.BytesIO()
    draw(runs, title).savefig(buffer, format="png", dpi=dpi, facecolor="white")
    write_bytes(path, buffer.getvalue())


def draw(runs: Mapping[str, Curves], title: str) -> "Figure":
    """Lay the four panels out, below a title and a legend that they share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = textwrap.wrap(title, 76)
    columns = max(1, min(6, int(9.4 / (0.75 + 0.09 * max(map(len, (*runs, "uniform")))))))
    below_title = 0.18 + 0.28 * len(lines)
    head = below_title + 0.72 + 0.25 * -(-(len(runs) + 2) // columns)
    height = PANELS_HEIGHT + head
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2).flat
    top, bottom = 1 - head / height, 0.55 / height
    figure.subplots_adjust(left=0.085, right=0.97, bottom=bottom, top=top, hspace=0.36, wspace=0.24)
    for axis, panel in zip(panels, TITLES, strict=True):
        _draw_panel(axis, panel, runs)
    left = 0.03
    head_line = figure.text(left, 1 - 0.18 / height, "\n".join(lines), fontsize=15, weight="bold", color=INK, va="top")
    figure.text(left, 1 - below_title / height, _subtitle(runs), fontsize=10.5, color=GREY, va="top")
    corner = (left, 1 - (below_title + 0.24) / height)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, bbox_to_anchor=corner, ncols=columns, **LEGEND)
    for text in (head_line, *legend.get_texts()):
        text.set_parse_math(False)  # a name with dollar signs is a name
    return figure


def _draw_panel(axis: "Axes", panel: str, runs: Mapping[str, Curves]) -> None:
    _decorate(axis, panel)
    for index, (label, run) in enumerate(runs.items()):
        x, values = _points(panel, run, panel)
        mean, stderr = mean_stderr(values)
        look: dict[str, Any] = {"color": _colour(index), "linestyle": STYLES[index // len(COLOURS) % len(STYLES)]}
        axis.plot(x, mean, linewidth=1.9, label=label, zorder=3, **look)
        if np.isfinite(stderr).any():
            low, high = mean - stderr, mean + stderr
            axis.fill_between(x, low, high, color=_colour(index), alpha=0.22, linewidth=0, zorder=2)
    _draw_references(axis, panel, runs)
    _fit_x(axis, panel, runs)
    _fit_y(axis, panel)


def _draw_references(axis: "Axes", panel: str, runs: Mapping[str, Curves]) -> None:
    """Draw uniform and optimal: once where all runs met the same world, else in the colour of every run."""
    for name, dashes in REFERENCES.items():
        look: dict[str, Any] = {"dashes": dashes, "linewidth": 1.5, "zorder": 2.5}
        axis.plot([], [], color=GREY, label=name, **look)
        if _in_one_world(runs):
            longest = max(runs.values(), key=_length)
            axis.plot(*_reference(name, panel, longest), color=GREY, **look)
        else:
            for index, run in enumerate(runs.values()):
                axis.plot(*_reference(name, panel, run), color=_colour(index), **look)


def _points(panel: str, run: Curves, name: str) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, "V L"]]:
    """Place the values of the series `name` at the ends of the rows; what is cumulative begins at zero."""
    x, values = run.edges * float(run.batch_size), series(run)[name]
    if panel == "cumulative_regret":
        return x, np.concatenate([np.zeros_like(values[:1]), values])
    if len(values) == 1:  # one point would be no line
        return x, np.repeat(values, 2, axis=0)
    return x[1:], values


def _reference(name: str, panel: str, run: Curves) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Compute what uniform or optimal would have reached; nan where that is not known (suboptimal arms of uniform)."""
    source = REFERENCE_SERIES[panel].get(name)
    x, values = _points(panel, run, source or panel)
    if source:
        return x, values.mean(axis=1)
    return x, np.full(len(x), 0.0 if name == "optimal" else np.nan)


def _in_one_world(runs: Mapping[str, Curves]) -> bool:
    """Tell whether all runs have the same references, up to the noise of which users they met."""
    levels = np.array([[run.means().uniform.mean(), run.means().optimal.mean()] for run in runs.values()])
    gap = np.abs(levels[:, 1] - levels[:, 0]).max()
    return bool((np.ptp(levels, axis=0) <= 0.05 * gap).all())


def _length(run: Curves) -> int:
    return int(run.interactions[-1])


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _subtitle(runs: Mapping[str, Curves]) -> str:
    seeds = sorted({run.sums.regret.shape[1] for run in runs.values()})
    if seeds == [1]:
        return "one seed"
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"mean over {count} seeds, band: ± one standard error"


def _decorate(axis: "Axes", panel: str) -> None:
    axis.set_title(TITLES[panel], loc="left", fontsize=12, color=INK, pad=9)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(GREY)
    axis.grid(axis="y", color=GRID, linewidth=0.9)
    axis.set_axisbelow(True)
    axis.tick_params(axis="both", labelsize=10, colors=INK, length=0, pad=5)
    axis.tick_params(axis="x", length=3, color=GREY)


def _fit_x(axis: "Axes", panel: str, runs: Mapping[str, Curves]) -> None:
    """Make the interactions logarithmic, since most is learned early; but linear where a slope means something."""
    from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

    first, last = min(int(run.interactions[0]) for run in runs.values()), max(map(_length, runs.values()))
    logarithmic = panel != "cumulative_regret" and last >= 10 * first
    if logarithmic:
        axis.set_xscale("log")
        axis.set_xlim(first, last)
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        bins = 5 if last < 10**7 else 4 if last < 10**9 else 3  # long labels need more room
        axis.set_xlim(0, last)
        axis.xaxis.set_major_locator(MaxNLocator(bins, integer=True))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if panel in ("cumulative_regret", "suboptimal_arms"):
        scale = ", logarithmic" if logarithmic else ""
        axis.set_xlabel(f"interactions of one seed{scale}", fontsize=10.5, color=INK, labelpad=6)


def _fit_y(axis: "Axes", panel: str) -> None:
    """Set limits and tick labels to what has been drawn."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    top = axis.get_ylim()[1]
    if panel != "average_return":
        axis.set_ylim(-0.03 * top, top)  # room to see the optimal, which is zero, above the axis
    if panel == "suboptimal_arms":
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif panel == "cumulative_regret":
        unit = 10**6 if top >= 10**6 else 1
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:,.10g}"))
        axis.set_title(TITLES[panel] + (", millions" if unit > 1 else ""), loc="left", fontsize=12, color=INK, pad=9)
