"""What all pictures share: colours, frames of panels, and the head with title and legend. Draws no data.

Touches no global state of matplotlib.
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epath

from jaxbandit._core.files import write_bytes
from jaxbandit._core.integers import ceil_div

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#8c6d31")
STYLES = ("-", "--", "-.", ":")  # of the first eight lines, the next eight, ...
INK, GREY, GRID = "#222222", "#6e6e6e", "#e8e8e8"
WIDTH = 10.0  # inches
MARGINS = {"left": 0.085, "right": 0.97}
LEFT = 0.03  # of the head


@dataclass(frozen=True)
class Page:
    """A figure with room for a head above its panels."""

    figure: "Figure"
    lines: list[str]  # of the title
    legend_columns: int
    top: float  # where the panels end, as a fraction of the height


def open_page(title: str, labels: Sequence[str], panels_height: float) -> Page:
    """Make a figure for panels of so many inches below a title and a legend of these labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = textwrap.wrap(title, 76)
    columns = max(1, min(6, int(9.4 / (0.75 + 0.09 * max(map(len, labels), default=1)))))
    rows = ceil_div(len(labels), columns) + sum(label.count("\n") for label in labels)
    head = _below(lines) + 0.72 + 0.25 * rows
    height = panels_height + head
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return Page(figure, lines, columns, 1 - head / height)


def write_head(page: Page, subtitle: str, handles: Sequence["Artist"], labels: Sequence[str]) -> None:
    """Write title, subtitle and legend above the panels."""
    figure, height = page.figure, page.figure.get_figheight()
    below_title = _below(page.lines)
    title = figure.text(LEFT, 1 - 0.18 / height, "\n".join(page.lines), fontsize=15, weight="bold", color=INK, va="top")
    figure.text(LEFT, 1 - below_title / height, subtitle, fontsize=10.5, color=GREY, va="top")
    corner = (LEFT, 1 - (below_title + 0.24) / height)
    legend = figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=corner, ncols=page.legend_columns, frameon=False, fontsize=11,
        labelcolor=INK, borderpad=0, borderaxespad=0, handlelength=1.8,
    )  # fmt: skip
    take_literally(title, *legend.get_texts())


def take_literally(*texts: "Text") -> None:
    """Keep matplotlib from reading dollar signs in a name as mathematics."""
    for text in texts:
        text.set_parse_math(False)


def save(figure: "Figure", path: epath.PathLike, dpi: int) -> None:
    """Write a figure as a PNG.

    Raises:
        InputError: the path cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    write_bytes(path, buffer.getvalue())


def colour(index: int) -> str:
    """Colour of the line with this number."""
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> str:
    """Line style of the line with this number; it changes when all colours are used."""
    return STYLES[index // len(COLOURS) % len(STYLES)]


def name_panel(axis: "Axes", title: str) -> None:
    """Write the title of a panel."""
    take_literally(axis.set_title(title, loc="left", fontsize=12, color=INK, pad=9))


def decorate(axis: "Axes") -> None:
    """Give a panel a grid and quiet spines."""
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(GREY)
    axis.grid(axis="y", color=GRID, linewidth=0.9)
    axis.set_axisbelow(True)
    axis.tick_params(axis="both", labelsize=10, colors=INK, length=0, pad=5)
    axis.tick_params(axis="x", length=3, color=GREY)


def name_x(axis: "Axes", words: str) -> None:
    """Label the horizontal axis of a panel."""
    take_literally(axis.set_xlabel(words, fontsize=10.5, color=INK, labelpad=6))


def number_y(axis: "Axes", name: str) -> str:
    """Set the ticks of the vertical axis for the curve `name`; return the unit, to be added to the title."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if name == "suboptimal_arms":
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    if name != "cumulative_regret":
        return ""
    unit = 10**6 if axis.get_ylim()[1] >= 10**6 else 1
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:,.10g}"))
    return ", millions" if unit > 1 else ""


def _below(lines: Sequence[str]) -> float:
    """Compute the inches from the top down to the subtitle."""
    return 0.18 + 0.28 * len(lines)
