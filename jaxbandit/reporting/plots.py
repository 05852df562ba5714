"""Learning curves -> a picture, of one run or of several beside each other. Knows no sweep."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from jaxtyping import Float

from jaxbandit.reporting import style as look
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
REFERENCE_SERIES: dict[str, dict[str, str]] = {
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
    look.save(draw(curves if isinstance(curves, Mapping) else {name: curves}, title), path, dpi)


def draw(curves: Mapping[str, Curves | Series], title: str) -> "Figure":
    """Lay the four panels out, below a title and a legend that they share."""
    runs = reduced(curves)
    page = look.open_page(title, [*runs, *REFERENCES], PANELS_HEIGHT)
    panels = page.figure.subplots(2, 2).flat
    bottom = 0.55 / page.figure.get_figheight()
    page.figure.subplots_adjust(**look.MARGINS, bottom=bottom, top=page.top, hspace=0.36, wspace=0.24)
    for axis, panel in zip(panels, TITLES, strict=True):
        draw_panel(axis, panel, runs)
        if panel in ("cumulative_regret", "suboptimal_arms"):
            name_interactions(axis)
    look.write_head(page, describe_seeds(runs), *page.figure.axes[0].get_legend_handles_labels())
    return page.figure


def reduced(curves: Mapping[str, Curves | Series]) -> dict[str, Series]:
    """Reduce to means over seeds what is not yet."""
    return {label: run if isinstance(run, Series) else series_of(run) for label, run in curves.items()}


def draw_panel(axis: "Axes", panel: str, runs: Mapping[str, Series], *, title: str = "", first_colour: int = 0) -> None:
    """Draw the series `panel` of all runs and its references against interactions."""
    look.decorate(axis)
    for index, (label, run) in enumerate(runs.items(), first_colour):
        x, mean = _points(panel, run, run.means[panel])
        _, stderr = _points(panel, run, run.stderrs[panel])
        axis.plot(x, mean, linewidth=1.9, label=label, zorder=3, **look.line_look(index))
        if np.isfinite(run.stderrs[panel]).any():
            low, high = mean - stderr, mean + stderr
            axis.fill_between(x, low, high, color=look.colour(index), alpha=0.22, linewidth=0, zorder=2)
    _draw_references(axis, panel, runs, first_colour)
    _fit_x(axis, panel, runs)
    top = axis.get_ylim()[1]
    if REFERENCE_SERIES[panel].get("optimal") is None:
        axis.set_ylim(-0.03 * top, top)  # room to see the optimal, which is zero, above the axis
    look.name_panel(axis, (title or TITLES[panel]) + look.number_y(axis, panel))


def name_interactions(axis: "Axes") -> None:
    """Write below a panel of learning curves what its horizontal axis is."""
    look.name_x(axis, "interactions of one seed" + (", logarithmic" if axis.get_xscale() == "log" else ""))


def describe_seeds(runs: Mapping[str, Series]) -> str:
    """Say what lines and bands are."""
    seeds = sorted({run.seeds or 0 for run in runs.values()})
    if seeds == [1]:
        return "one seed"
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"mean over {count + ' ' if seeds[0] else ''}seeds, band: ± one standard error"


def _draw_references(axis: "Axes", panel: str, runs: Mapping[str, Series], first_colour: int) -> None:
    """Draw uniform and optimal: once where all runs met the same world, else in the colour of every run."""
    for name, dashes in REFERENCES.items():
        style: dict[str, Any] = {"dashes": dashes, "linewidth": 1.5, "zorder": 2.5}
        axis.plot([], [], color=GREY, label=name, **style)
        if _in_one_world(runs):
            longest = max(runs.values(), key=_length)
            axis.plot(*_reference(name, panel, longest), color=GREY, **style)
        else:
            for index, run in enumerate(runs.values(), first_colour):
                axis.plot(*_reference(name, panel, run), color=look.colour(index), **style)


def _points(
    panel: str, run: Series, values: Float[np.ndarray, " W"]
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Place values at the ends of the rows; what is cumulative begins at zero."""
    x = run.interactions.astype(float)
    if panel == "cumulative_regret":
        return np.append(0.0, x), np.append(0.0, values)
    if len(values) == 1:  # one point would be no line
        return np.append(0.0, x), np.repeat(values, 2)
    return x, values


def _reference(name: str, panel: str, run: Series) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Compute what uniform or optimal would have reached; nan where that is not known (suboptimal arms of uniform)."""
    source = REFERENCE_SERIES[panel].get(name)
    x, values = _points(panel, run, run.means[source or panel])
    return x, values if source else np.full(len(x), 0.0 if name == "optimal" else np.nan)


def _in_one_world(runs: Mapping[str, Series]) -> bool:
    """Tell whether all runs have the same references, up to the noise of which users they met."""
    levels = np.array([[run.means["uniform"].mean(), run.means["optimal"].mean()] for run in runs.values()])
    gap = np.abs(levels[:, 1] - levels[:, 0]).max()
    return bool((np.ptp(levels, axis=0) <= 0.05 * gap).all())


def _length(run: Series) -> int:
    return int(run.interactions[-1])


def _fit_x(axis: "Axes", panel: str, runs: Mapping[str, Series]) -> None:
    """Make the interactions logarithmic, since most is learned early; but linear where a slope means something."""
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
