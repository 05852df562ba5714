"""The horizontal axis of one swept setting: linear, logarithmic, or categories side by side. Draws no results."""

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import polars as pl
from jaxtyping import Float

from jaxbandit.reporting import style
from jaxbandit.reporting.numbers import format_setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 8  # values that each get a tick of their own
CROWDED = 45  # letters of all labels that fit below half a page


Value: TypeAlias = str | bool | int | float


class SettingAxis(NamedTuple):
    """The scale of one setting."""

    values: list[Value]  # all that occur, in order
    is_numeric: bool
    is_logarithmic: bool

    @property
    def labels(self) -> list[str]:
        """Labels of the categories, broken into short lines."""
        texts = [] if self.is_numeric else map(format_setting, self.values)
        return [textwrap.fill(text, 11, break_on_hyphens=True) for text in texts]

    def place(self, values: pl.Series) -> Float[np.ndarray, " H"]:
        """Return the horizontal positions of values; categories are at 0, 1, 2, ..."""
        if self.is_numeric:
            return values.cast(pl.Float64).to_numpy()
        places = {value: float(index) for index, value in enumerate(self.values)}
        return np.array([places[value] for value in values], float)


def setting_axis(values: pl.Series, order: list[str] | None = None) -> SettingAxis:
    """Choose the scale: logarithmic where positive numbers span more than a decade, categories for other values.

    `order` gives the categories in their order.
    """
    if order is not None:
        return SettingAxis([*order], False, False)
    distinct = values.drop_nulls().unique().to_list()
    if not values.dtype.is_numeric():
        return SettingAxis(sorted(distinct, key=_natural), False, False)
    ordered = sorted(distinct)
    return SettingAxis(ordered, True, bool(ordered) and ordered[0] > 0 and ordered[-1] > 10 * ordered[0])


def fit_setting(axis: "Axes", setting: SettingAxis, name: str) -> None:
    """Set scale, limits, ticks and label of the horizontal axis."""
    if not setting.is_numeric:
        _fit_categories(axis, setting)
    else:
        _fit_numbers(axis, setting)
    style.name_x(axis, name + (", logarithmic" if setting.is_logarithmic else ""))


def _fit_categories(axis: "Axes", setting: SettingAxis) -> None:
    labels = setting.labels
    page = axis.get_position().width / 0.4  # of half a page
    small = sum(max(map(len, label.split("\n"))) for label in labels) > CROWDED * page
    axis.set_xticks(range(len(labels)), labels, fontsize=7.5 if small else 9.5)
    style.take_literally(*axis.get_xticklabels())
    axis.set_xlim(-0.5, len(labels) - 0.5)


def _fit_numbers(axis: "Axes", setting: SettingAxis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    first, last = float(setting.values[0]), float(setting.values[-1])
    if setting.is_logarithmic:
        axis.set_xscale("log")
        margin = (last / first) ** 0.04
        axis.set_xlim(first / margin, last * margin)
        subs = (1.0, 3.0) if last < 300 * first else (1.0,)
        axis.xaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
    else:
        margin = 0.04 * (last - first) or 0.5
        axis.set_xlim(first - margin, last + margin)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=all(isinstance(v, int) for v in setting.values)))
    if len(setting.values) <= FEW and sum(len(format_setting(v)) for v in setting.values) <= CROWDED:
        axis.set_xticks([float(value) for value in setting.values])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}" if value >= 1e-4 else f"{value:g}"))


def _natural(value: Value) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which 64x32 comes before 128, and false before true."""
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", str(value).lower()) if p)
