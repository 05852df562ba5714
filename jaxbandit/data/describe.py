"""Ratings in numbers and in one picture. It changes no ratings."""

import io
import itertools
import os
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from etils import epath
from jaxtyping import Num

from jaxbandit._core.errors import InputError
from jaxbandit.data.ratings import Ratings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_VALUES = 10  # more distinct ratings are shown in that many bins
INK, USERS, ITEMS = "#333333", "#3b6ea8", "#d1603d"


class Counts(TypedDict):
    """How ratings are spread over users, or over items."""

    median: float
    mean: float
    max: int
    gini: float


class Description(TypedDict):
    """Ratings in numbers; JSON can hold it."""

    name: str
    users: int
    items: int
    rated_items: int
    ratings: int
    density: float
    scale: list[float]
    mean: float
    sd: float
    stars: dict[str, float]  # rating, or a range of ratings -> share of all ratings
    ratings_per_user: Counts
    ratings_per_item: Counts  # items that nobody rated count as zero
    user_features: list[str]
    item_features: list[str]
    truth_known: bool


def describe(ratings: Ratings) -> Description:
    """Summarise ratings in numbers."""
    users, items = _counts(ratings)
    return {
        "name": ratings.name,
        "users": ratings.num_users,
        "items": ratings.num_items,
        "rated_items": int(np.count_nonzero(items)),
        "ratings": len(ratings.rating),
        "density": len(ratings.rating) / (ratings.num_users * ratings.num_items),
        "scale": [float(ratings.low), float(ratings.high)],
        "mean": float(ratings.rating.mean(dtype=np.float64)),
        "sd": float(ratings.rating.std(dtype=np.float64)),
        "stars": _shares(ratings.rating),
        "ratings_per_user": _summarize(users),
        "ratings_per_item": _summarize(items),
        "user_features": list(ratings.user_feature_names),
        "item_features": list(ratings.item_feature_names),
        "truth_known": ratings.truth is not None,
    }


def gini(counts: Num[np.ndarray, " n"]) -> float:
    """Measure inequality: sum_j (2 j - n - 1) c_j / (n sum c) for c_1 <= ... <= c_n; 0: all equal, near 1: one has all.

    Source: Gini 1921, "Measurement of Inequality of Incomes", https://doi.org/10.2307/2223319
    """
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def plot(ratings: Ratings, path: str | os.PathLike[str]) -> None:
    """Draw star shares, popularity and activity into a PNG.

    Raises:
        InputError: the path cannot be written.
    """
    # Half a second that only a picture should cost.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    users, items = _counts(ratings)
    figure = Figure(figsize=(11, 3.6), layout=ConstrainedLayoutEngine(wspace=0.06), dpi=130)
    stars, popularity, activity = figure.subplots(1, 3)
    figure.suptitle(
        f"{ratings.name}: {len(ratings.rating):,} ratings, {ratings.num_users:,} users, {ratings.num_items:,} items",
        color=INK, fontsize=12,
    )  # fmt: skip
    _plot_stars(stars, ratings)
    _plot_ranked(popularity, items, "item", ITEMS)
    _plot_ranked(activity, users, "user", USERS)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    target = epath.Path(path).expanduser()
    try:
        target.write_bytes(picture.getvalue())
    except OSError as error:
        raise InputError(
            f"plot {str(path)!r}: cannot be written ({error.strerror or error}): allowed: a PNG in a writable directory"
        ) from error


def _counts(ratings: Ratings) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.bincount(ratings.user, minlength=ratings.num_users),
        np.bincount(ratings.item, minlength=ratings.num_items),
    )


def _summarize(counts: np.ndarray) -> Counts:
    return {
        "median": float(np.median(counts)),
        "mean": float(counts.mean()),
        "max": int(counts.max()),
        "gini": gini(counts),
    }


def _shares(rating: np.ndarray) -> dict[str, float]:
    values, counts = np.unique(rating, return_counts=True)
    labels = [f"{value:g}" for value in values]
    if len(values) > MOST_VALUES:
        counts, edges = np.histogram(rating, MOST_VALUES)
        labels = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
    return {label: float(count) / len(rating) for label, count in zip(labels, counts, strict=True)}


def _plot_stars(axes: "Axes", ratings: Ratings) -> None:
    shares = _shares(ratings.rating)
    bars = axes.bar(list(shares), list(shares.values()), color=INK, alpha=0.75, width=0.75)
    if len(shares) <= 5:
        axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], color=INK, padding=2, fontsize=9)
    crowded = any(len(label) > 4 for label in shares)
    axes.margins(y=0.12)
    axes.tick_params(axis="x", rotation=60 if crowded else 0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    mean, sd = ratings.rating.mean(dtype=np.float64), ratings.rating.std(dtype=np.float64)
    _finish(axes, f"Ratings: mean {mean:.2f}, sd {sd:.2f}", "rating", "share of ratings")


def _plot_ranked(axes: "Axes", counts: np.ndarray, what: str, colour: str) -> None:
    ordered = np.sort(counts[counts > 0])[::-1]
    rank = np.arange(1, len(ordered) + 1)
    axes.loglog(rank, ordered, color=colour, linewidth=2)
    axes.fill_between(rank, ordered, 0.9, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(np.median(counts), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
        f"median {np.median(counts):,.0f}", (1, np.median(counts)), (4, 4), textcoords="offset points",
        color=INK, fontsize=8,
    )  # fmt: skip
    axes.set_ylim(bottom=0.9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_minor_formatter(lambda *_: "")
    _finish(axes, f"{what.capitalize()}s: Gini {gini(counts):.2f}", f"{what} rank", f"ratings of the {what}")


def _finish(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
