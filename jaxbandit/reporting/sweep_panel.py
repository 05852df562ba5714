"""One panel of the picture of a sweep: the metric of all configurations against one setting. Lays out no page."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from jaxbandit.reporting import style
from jaxbandit.reporting.numbers import format_setting
from jaxbandit.reporting.results import METRICS, setting_column
from jaxbandit.reporting.setting_axis import SettingAxis, fit_setting, setting_axis
from jaxbandit.reporting.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = {
    "average_return": "Average return",
    "average_return_so_far": "Average return so far",
    "regret": "Regret per interaction",
    "realized_regret": "Realised regret",
    "cumulative_regret": "Cumulative regret",
    "normalized_regret": "Normalised regret",
    "suboptimal_arms": "Suboptimal arms",
}
BINS = 12  # of a setting whose values were drawn at random
SPAN = 20  # ratio of the extremes above which a metric to be minimised has a logarithmic axis
WIDTH = 0.6  # of the dots of one category; categories have distance 1


class Sweep(NamedTuple):
    """What all panels of a picture share."""

    frame: pl.DataFrame  # of `tabulate`
    metric: str
    agents: list[str]  # the best first; an agent's index is that of its colour
    names: list[str]  # of the swept settings
    limits: tuple[float, float]  # of the vertical axis
    is_logarithmic: bool  # the vertical axis

    @property
    def is_low_best(self) -> bool:
        """Whether the metric is to be minimised."""
        return METRICS[self.metric] == "lower"

    @property
    def best_colour(self) -> int:
        """Index of the best configuration's colour: after those of the agents where several panels use these."""
        return len(self.agents) if self.names else 0


class Dots(NamedTuple):
    """Configurations of one agent on the axis of one setting, from left to right."""

    x: Float[np.ndarray, " H"]
    mean: Float[np.ndarray, " H"]
    stderr: Float[np.ndarray, " H"]
    kept: Bool[np.ndarray, " H"]  # until the last rung
    rank: Int[np.ndarray, " H"]

    def where(self, chosen: Bool[np.ndarray, " H"] | Int[np.ndarray, " I"]) -> "Dots":
        """Select or sort them."""
        return Dots(*(field[chosen] for field in self))


def make_sweep(frame: pl.DataFrame, metric: str, names: list[str]) -> Sweep:
    """Compute what the panels share; the vertical limits leave room for the label of the best configuration."""
    if "agent" not in frame.columns:
        frame = frame.with_columns(agent=pl.lit("agent"))
    is_low = METRICS[metric] == "lower"
    bar = pl.col(f"{metric}_stderr").fill_null(0.0) if len(names) < 2 else 0.0
    ends = frame.filter(pl.col(metric).is_finite()).select(low=pl.col(metric) - bar, high=pl.col(metric) + bar)
    low, high = (float(ends.to_numpy().min()), float(ends.to_numpy().max())) if ends.height else (0.0, 1.0)
    below, above = (0.18, 0.06) if is_low else (0.06, 0.18)
    logarithmic = is_low and low > 0 and high > SPAN * low
    room = (high - low) or abs(high) or 1.0
    limits = (low - below * room, high + above * room)
    if logarithmic:
        limits = (low / (high / low) ** below, high * (high / low) ** above)
    return Sweep(frame, metric, frame["agent"].unique(maintain_order=True).to_list(), names, limits, logarithmic)


def kept(frame: pl.DataFrame) -> Bool[np.ndarray, " H"]:
    """Mark the configurations that took part in the last rung."""
    if "rung" not in frame.columns:
        return np.ones(frame.height, bool)
    return (frame["rung"] == frame["rung"].max()).to_numpy()


def axis_of(sweep: Sweep, name: str) -> SettingAxis:
    """Make the axis of one setting; agents come in the order of their ranks."""
    return setting_axis(sweep.frame[setting_column(name)], sweep.agents if name == "agent" else None)


def draw_setting(axis: "Axes", sweep: Sweep, name: str) -> None:
    """Draw the metric against one setting."""
    setting = axis_of(sweep, name)
    style.decorate(axis)
    fit_setting(axis, setting, "" if name == "agent" else name)
    for index in range(len(sweep.agents)):
        dots = _dots(sweep, setting, name, index)
        if len(sweep.names) < 2:
            _draw_means(axis, dots, setting.is_numeric, style.colour(index))
        else:
            _draw_cloud(axis, sweep, setting, dots, index)
        lost = dots.x[np.isnan(dots.mean)]
        top, colour = axis.get_xaxis_transform(), style.colour(index)
        axis.plot(lost, np.full(len(lost), 0.98), "x", markersize=5, label="not finite", color=colour, transform=top)
    _fit_y(axis, sweep, f"{WORDS[sweep.metric]} by {name}")
    _mark_best(axis, sweep, setting, name)


def best_line(
    x: Float[np.ndarray, " H"], y: Float[np.ndarray, " H"], *, is_low: bool, is_logarithmic: bool = False
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Select the best of each value of a setting, or of each of BINS intervals where values seldom occur twice."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    cells = x
    if len(np.unique(x)) > max(len(x) / 2, BINS):
        scaled = np.log(x) if is_logarithmic else x
        cells = np.minimum(np.floor((scaled - scaled.min()) / np.ptp(scaled) * BINS), BINS - 1)
    order = np.lexsort((y if is_low else -y, cells))
    first = order[np.unique(cells[order], return_index=True)[1]]
    return x[first], y[first]


def _dots(sweep: Sweep, setting: SettingAxis, name: str, index: int) -> Dots:
    """Compute the positions of an agent's configurations."""
    column = setting_column(name)
    frame = sweep.frame.filter(pl.col(column).is_not_null(), pl.col("agent") == sweep.agents[index])
    x = setting.place(frame[column])
    if not setting.is_numeric and name != "agent":
        x = x + _shift(sweep, index)
        if len(sweep.names) > 1:  # spread them without random numbers, so that pictures are reproducible
            x = x + (np.arange(len(x)) * 0.618 % 1 - 0.5) * 0.7 * WIDTH / len(sweep.agents)
    rank = frame["rank"].to_numpy()
    stderr = frame[f"{sweep.metric}_stderr"].fill_null(np.nan).to_numpy()
    dots = Dots(x, frame[sweep.metric].to_numpy(), stderr, kept(sweep.frame)[rank - 1], rank)
    return dots.where(np.argsort(x, kind="stable"))


def _shift(sweep: Sweep, index: int) -> float:
    """Compute the distance of an agent's dots from the middle of a category."""
    return ((index + 0.5) / len(sweep.agents) - 0.5) * WIDTH


def _draw_means(axis: "Axes", dots: Dots, is_joined: bool, colour: str) -> None:
    """Draw means and standard errors, joined by a line where the setting is numeric."""
    last, dropped = dots.where(dots.kept), dots.where(~dots.kept)
    errorbar = partial(
        axis.errorbar, fmt="o", color=colour, linewidth=1.9, elinewidth=1.1, markersize=4.5, markeredgewidth=0
    )
    errorbar(last.x, last.mean, last.stderr, ls="-" if is_joined else "none", label="mean", zorder=3)
    errorbar(dropped.x, dropped.mean, dropped.stderr, ls="none", label="dropped", alpha=0.3, zorder=2)


def _draw_cloud(axis: "Axes", sweep: Sweep, setting: SettingAxis, dots: Dots, index: int) -> None:
    """Draw all configurations, and the best of each value: a line, or a dash in each category."""
    last, dropped, colour = dots.where(dots.kept), dots.where(~dots.kept), style.colour(index)
    alpha = 0.45 if len(dots.x) < 200 else 0.3
    scatter = partial(axis.scatter, color=colour, s=15, linewidths=0)
    scatter(last.x, last.mean, alpha=alpha, label="configurations", zorder=2.5)
    scatter(dropped.x, dropped.mean, alpha=alpha / 2, label="dropped", zorder=2)
    if setting.is_numeric:
        line = best_line(last.x, last.mean, is_low=sweep.is_low_best, is_logarithmic=setting.is_logarithmic)
        axis.plot(*line, "o-", color=colour, markersize=4, linewidth=1.9, label="best", zorder=3)
    else:
        x, y = best_line(np.round(last.x), last.mean, is_low=sweep.is_low_best)
        half = 0.42 * WIDTH / len(sweep.agents)
        centre = x + _shift(sweep, index)
        axis.hlines(y, centre - half, centre + half, color=colour, linewidth=1.9, label="best", zorder=3)


def _mark_best(axis: "Axes", sweep: Sweep, setting: SettingAxis, name: str) -> None:
    """Draw a star on the best configuration, and its value beside it."""
    from matplotlib.patheffects import withStroke

    row = sweep.frame.row(0, named=True)
    if row[setting_column(name)] is None or np.isnan(row[sweep.metric]):
        return
    dots = _dots(sweep, setting, name, 0)  # agents come in the order of their ranks
    x, y = float(dots.x[dots.rank == 1][0]), row[sweep.metric]
    colour = style.colour(sweep.best_colour)
    axis.plot(x, y, "*", label="the best", zorder=5, color=colour, markersize=15, markeredgecolor="white")
    is_left = axis.transAxes.inverted().transform(axis.transData.transform((x, y)))[0] < 0.6
    text = axis.annotate(
        format_setting(row[setting_column(name)]),
        (x, y),
        (7 if is_left else -7, -7 if sweep.is_low_best else 7),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="top" if sweep.is_low_best else "bottom",
        fontsize=10.5,
        weight="bold",
        color=INK,
        zorder=6,
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )
    style.take_literally(text)


def _fit_y(axis: "Axes", sweep: Sweep, title: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if not sweep.is_logarithmic:
        axis.set_ylim(*sweep.limits)
        style.name_panel(axis, title + style.number_y(axis, sweep.metric))
        return
    axis.set_yscale("log")
    axis.set_ylim(*sweep.limits)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
    axis.yaxis.set_minor_locator(NullLocator())
    scale, unit = (100, "%") if sweep.metric == "suboptimal_arms" else (1, "")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * scale:,.10g}{unit}"))
    style.name_panel(axis, title + ", logarithmic")
