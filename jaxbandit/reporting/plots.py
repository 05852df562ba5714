"""Learning curves -> a picture of one run, or of several in the same panels. Knows no sweep."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from etils import epath
from jaxtyping import Float

from jaxbandit.reporting import style
from jaxbandit.reporting.numbers import format_range
from jaxbandit.reporting.series import Series, series_of
from jaxbandit.reporting.style import GREY
from jaxbandit.simulation.metrics import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCES = {"uniform": (4.0, 2.0), "optimal": (1.0, 1.4)}  # name -> dashes
TITLES = {
    "regret": "Regret per interaction",
    "average_return": "Average return",
    "cumulative_regret": "Cumulative regret",
    "suboptimal_arms": "Suboptimal arms",
}
REFERENCE_SERIES: dict[str, dict[str, str]] = {  # curve -> reference -> the curve of the reference
    "regret": {"uniform": "uniform_regret"},
    "average_return": {"uniform": "uniform", "optimal": "optimal"},
    "average_return_so_far": {"uniform": "uniform", "optimal": "optimal"},
    "cumulative_regret": {"uniform": "uniform_cumulative_regret"},
    "suboptimal_arms": {},
}
PANELS_HEIGHT = 6.2  # inches


def plot_curves(
    path: epath.PathLike,
    curves: Curves | Series | Mapping[str, Curves | Series],
    *,
    title: str,
    name: str = "agent",
    dpi: int = 160,
) -> None:
    """Draw regret, average return, cumulative regret and suboptimal arms against interactions, and save a PNG.

    Lines are means over seeds and bands one standard error; uniform and optimal are the references. Several curves are
    labelled by their keys, a single one by `name`.

    Raises:
        InputError: the path cannot be written.
    """
    style.save(draw(curves if isinstance(curves, Mapping) else {name: curves}, title), path, dpi)


def draw(curves: Mapping[str, Curves | Series], title: str) -> "Figure":
    """Lay the four panels out, below a title and a legend that they share."""
    runs = reduced(curves)
    page = style.open_page(title, [*runs, *REFERENCES], PANELS_HEIGHT)
    panels = page.figure.subplots(2, 2).flat
    bottom = 0.55 / page.figure.get_figheight()
    page.figure.subplots_adjust(**style.MARGINS, bottom=bottom, top=page.top, hspace=0.36, wspace=0.24)
    for axis, panel in zip(panels, TITLES, strict=True):
        draw_panel(axis, panel, runs)
        if panel in ("cumulative_regret", "suboptimal_arms"):
            name_interactions(axis)
    style.write_head(page, describe_seeds(runs), *page.figure.axes[0].get_legend_handles_labels())
    return page.figure


def reduced(curves: Mapping[str, Curves | Series]) -> dict[str, Series]:
    """Reduce curves to means over seeds, unless they are that already."""
    return {label: run if isinstance(run, Series) else series_of(run) for label, run in curves.items()}


def draw_panel(axis: "Axes", panel: str, runs: Mapping[str, Series], *, title: str = "", first_colour: int = 0) -> None:
    """Draw the curve `panel` of all runs and its references against interactions."""
    style.decorate(axis)
    for index, (label, run) in enumerate(runs.items(), first_colour):
        x, mean = _points(panel, run, run.means[panel])
        _, stderr = _points(panel, run, run.stderrs[panel])
        colour = style.colour(index)
        axis.plot(x, mean, color=colour, linestyle=style.dashes(index), linewidth=1.9, label=label, zorder=3)
        if np.isfinite(run.stderrs[panel]).any():
            low, high = mean - stderr, mean + stderr
            axis.fill_between(x, low, high, color=colour, alpha=0.22, linewidth=0, zorder=2)
    _draw_references(axis, panel, runs, first_colour)
    _fit_x(axis, panel, runs)
    top = axis.get_ylim()[1]
    if REFERENCE_SERIES[panel].get("optimal") is None:
        axis.set_ylim(-0.03 * top, top)  # room to see the optimal, which is zero, above the axis
    style.name_panel(axis, (title or TITLES[panel]) + style.number_y(axis, panel))


def name_interactions(axis: "Axes") -> None:
    """Label the horizontal axis of a panel of learning curves."""
    style.name_x(axis, "interactions of one seed" + (", logarithmic" if axis.get_xscale() == "log" else ""))


def describe_seeds(runs: Mapping[str, Series]) -> str:
    """Describe what lines and bands show."""
    seeds = sorted({run.seeds or 0 for run in runs.values()})
    if seeds == [1]:
        return "one seed"
    count = f"{format_range(seeds)} " if seeds[0] else ""
    return f"mean over {count}seeds, band: ± one standard error"


def _draw_references(axis: "Axes", panel: str, runs: Mapping[str, Series], first_colour: int) -> None:
    """Draw uniform and optimal: once where all runs met the same world, else in the colour of every run."""
    for name, dashes in REFERENCES.items():
        plot = partial(axis.plot, dashes=dashes, linewidth=1.5, zorder=2.5)
        plot([], [], color=GREY, label=name)
        if _in_one_world(runs):
            longest = max(runs.values(), key=_length)
            plot(*_reference(name, panel, longest), color=GREY)
        else:
            for index, run in enumerate(runs.values(), first_colour):
                plot(*_reference(name, panel, run), color=style.colour(index))


def _points(
    panel: str, run: Series, values: Float[np.ndarray, " W"]
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Return x and y of a line; a cumulative one begins at zero."""
    x = run.interactions.astype(float)
    if panel == "cumulative_regret":
        return np.append(0.0, x), np.append(0.0, values)
    if len(values) == 1:  # one point would be no line
        return np.append(0.0, x), np.repeat(values, 2)
    return x, values


def _reference(name: str, panel: str, run: Series) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Compute the line of uniform or optimal; nan where it is unknown (suboptimal arms of uniform)."""
    source = REFERENCE_SERIES[panel].get(name)
    x, values = _points(panel, run, run.means[source or panel])
    return x, values if source else np.full(len(x), 0.0 if name == "optimal" else np.nan)


def _in_one_world(runs: Mapping[str, Series]) -> bool:
    """Whether all runs have the same references, up to the noise of which users were drawn."""
    levels = np.array([[run.means["uniform"].mean(), run.means["optimal"].mean()] for run in runs.values()])
    gap = np.abs(levels[:, 1] - levels[:, 0]).max()
    return bool((np.ptp(levels, axis=0) <= 0.05 * gap).all())


def _length(run: Series) -> int:
    return int(run.interactions[-1])


def _fit_x(axis: "Axes", panel: str, runs: Mapping[str, Series]) -> None:
    """Scale the interactions: logarithmic, since most is learned early, but linear where a slope has a meaning."""
    from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

    first, last = min(int(run.interactions[0]) for run in runs.values()), max(map(_length, runs.values()))
    if panel != "cumulative_regret" and last >= 10 * first:
        axis.set_xscale("log")
        axis.set_xlim(first, last)
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        bins = 5 if last < 10**7 else 4 if last < 10**9 else 3  # long labels need more room
        axis.set_xlim(0, last)
        axis.xaxis.set_major_locator(MaxNLocator(bins, integer=True))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
