import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from jaxbandit._core.errors import InputError
from jaxbandit.reporting import plot_curves, read_metrics_csv, write_metrics_csv
from jaxbandit.reporting.plots import draw


def lines_of(axis):
    """Name -> drawn points; the empty lines that only serve the legend left out."""
    drawn = [line for line in axis.get_lines() if len(line.get_xdata())]
    return [(line.get_label(), np.asarray(line.get_xydata())) for line in drawn]


def test_the_picture_is_a_png_of_readable_size_with_something_on_it(tmp_path, curves):
    plot_curves(tmp_path / "curves.png", curves, title="linucb on mf", name="linucb")
    pixels = image.imread(tmp_path / "curves.png")
    assert pixels.shape[1] == 1600
    assert 1000 < pixels.shape[0] < 1500
    assert 0.02 < np.mean(pixels[..., :3].min(axis=-1) < 0.9) < 0.5
    assert len(np.unique(pixels[::4, ::4, 0])) > 20
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_the_lines_are_the_means_over_seeds_and_the_bands_their_errors(curves):
    regret, returns, cumulative, arms = draw({"linucb": curves}, "title").axes
    drawn = dict(lines_of(regret))
    assert drawn["linucb"].tolist() == [[12, 1.5], [18, 1], [20, 0.5]]
    assert dict(lines_of(cumulative))["linucb"].tolist() == [[0, 0], [12, 18], [18, 24], [20, 25]]
    band = regret.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0
    assert band[:, 1].max() == 2
    references = [points[:, 1].tolist() for label, points in lines_of(returns) if label != "linucb"]
    assert references == [[2, 3, 2], [4, 5, 5]]
    references = [points[:, 1].tolist() for label, points in lines_of(regret) if label != "linucb"]
    assert references == [[2, 2, 3], [0, 0, 0]]
    assert np.isnan(lines_of(arms)[1][1][:, 1]).all()  # how often uniform misses the best arm is not known


def test_one_seed_has_no_band(make_curves):
    assert not any(axis.collections for axis in draw({"a": make_curves(lanes=1)}, "").axes)


def test_a_single_row_is_drawn_as_a_line(make_curves):
    regret, _, cumulative, _ = draw({"a": make_curves(rows=1)}, "").axes
    assert dict(lines_of(regret))["a"].tolist() == [[0, 1.5], [12, 1.5]]
    assert dict(lines_of(cumulative))["a"].tolist() == [[0, 0], [12, 18]]


def test_runs_in_one_world_share_their_references_and_others_do_not(make_curves):
    one, shorter = make_curves(), make_curves(lanes=1)
    other = dataclasses.replace(one, sums=one.sums._replace(uniform=one.sums.uniform * 0.5))
    shared = draw({"a": one, "b": one}, "").axes[1]
    separate = draw({"a": one, "b": other}, "").axes[1]
    assert len(lines_of(shared)) == 2 + 2
    assert len(lines_of(separate)) == 2 + 4
    assert len(draw({str(i): shorter for i in range(12)}, "many").legends[0].get_texts()) == 12 + 2


def test_a_diverged_run_is_drawn_as_far_as_it_goes(tmp_path, curves):
    hole = curves.sums.regret.copy()
    hole[1:] = np.nan
    nothing = np.full_like(hole, np.nan)
    diverged = dataclasses.replace(curves, sums=curves.sums._replace(regret=hole, average_return=nothing))
    plot_curves(tmp_path / "curves.png", {"diverged": diverged, "costs $1 or $\\x$": curves}, title="$\\x$")
    assert image.imread(tmp_path / "curves.png").size > 0


def test_a_run_is_drawn_again_from_its_file_as_it_was(tmp_path, curves, make_curves):
    for label, run in (("two", curves), ("one", make_curves(lanes=1))):
        write_metrics_csv(tmp_path / "metrics.csv", run)
        plot_curves(tmp_path / "first.png", run, title="", name=label)
        again = read_metrics_csv(tmp_path / "metrics.csv", seeds=run.sums.regret.shape[1])
        plot_curves(tmp_path / "again.png", {label: again}, title="")
        assert (tmp_path / "again.png").read_bytes() == (tmp_path / "first.png").read_bytes()


def test_runs_and_files_whose_seeds_nobody_counted_are_drawn_beside_each_other(tmp_path, curves):
    write_metrics_csv(tmp_path / "metrics.csv", curves)
    figure = draw({"run": curves, "file": read_metrics_csv(tmp_path / "metrics.csv")}, "title")
    assert len(lines_of(figure.axes[0])) == 2 + 2
    assert figure.texts[1].get_text() == "mean over seeds, band: ± one standard error"


def test_a_picture_that_cannot_be_written_is_bad_input(tmp_path, curves):
    with pytest.raises(InputError, match="cannot write"):
        plot_curves(tmp_path, curves, title="")


def test_importing_reporting_loads_nothing_slow():
    code = "import sys, jaxbandit.reporting; print(sorted({'matplotlib', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_interactions_are_logarithmic_in_a_long_run_but_not_where_a_slope_is_read(make_curves):
    long = make_curves(edges=[0, 1, 10, 1000])
    regret, returns, cumulative, arms = draw({"linucb": long}, "title").axes
    assert [axis.get_xscale() for axis in (regret, returns, cumulative, arms)] == ["log", "log", "linear", "log"]
    assert regret.get_xlim() == (2, 2000)
    assert cumulative.get_xlim() == (0, 2000)
    short = draw({"linucb": make_curves()}, "title").axes
    assert {axis.get_xscale() for axis in short} == {"linear"}
