"""Trials of a hyperparameter study -> a picture: the metric of each, and the best so far. Ranks nothing."""

from collections.abc import Mapping

import numpy as np
from etils import epath

from jaxbandit.reporting import style

PANEL_HEIGHT = 3.6  # inches


def plot_trials(path: epath.PathLike, values: Mapping[int, float], *, higher: bool, title: str, dpi: int = 160) -> None:
    """Draw the metric of every trial with one against the trial's number, and the best so far, and save a PNG.

    Raises:
        InputError: the path cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    labels = ["a trial", "best so far"]
    page = style.open_page(title, labels, PANEL_HEIGHT)
    axis = page.figure.subplots()
    page.figure.subplots_adjust(**style.MARGINS, bottom=0.55 / page.figure.get_figheight(), top=page.top)
    style.decorate(axis)
    numbers = np.array(sorted(values), int)
    metric = np.array([values[number] for number in numbers])
    axis.plot(numbers, metric, "o", color=style.colour(0), markersize=5, alpha=0.7, label=labels[0])
    best = (np.maximum if higher else np.minimum).accumulate(metric) if len(metric) else metric
    axis.step(numbers, best, where="post", color=style.colour(1), linewidth=1.8, label=labels[1])
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.name_x(axis, "trial")
    style.write_head(page, "each trial is a training of its own", *axis.get_legend_handles_labels())
    style.save(page.figure, path, dpi)
