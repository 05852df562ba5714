import numpy as np
import pytest
from matplotlib import image

from jaxbandit._core.errors import InputError
from jaxbandit.reporting import plot_sweep, tabulate
from jaxbandit.reporting.style import COLOURS
from jaxbandit.reporting.sweep_panel import best_line
from jaxbandit.reporting.sweep_plot import draw_sweep


def drawn(axis, label):
    """Points of the lines of this name."""
    lines = [np.asarray(line.get_xydata()).tolist() for line in axis.get_lines() if line.get_label() == label]
    return [points for points in lines if points]


def dots(axis, label):
    return [c.get_offsets().tolist() for c in axis.collections if c.get_label() == label and len(c.get_offsets())]


def words(axis):
    return [text.get_text() for text in axis.texts]


def grid(level, **others):
    settings = [{"agent": "linucb", "alpha": alpha} | others for alpha in (0.1, 10.0, 1.0)]
    return tabulate(settings, [level(2, 4), level(5, 5), level(1, 1)])


def test_one_setting_is_drawn_as_means_with_errors_and_the_best_is_marked(level):
    figure = draw_sweep(grid(level), {"best": level(1, 1)}, ["alpha"], "regret", "title")
    panel, curves = figure.axes
    (bars,) = [container for container in panel.containers if container.get_label() == "mean"]
    assert np.asarray(bars.lines[0].get_xydata()).tolist() == [[0.1, 3], [1, 1], [10, 5]]
    assert bars.lines[2][0].get_segments()[0].tolist() == [[0.1, 2], [0.1, 4]]
    assert drawn(panel, "the best") == [[[1, 1]]]
    assert words(panel) == ["1"]
    assert panel.get_xscale() == "log"
    assert panel.get_xlabel() == "alpha, logarithmic"
    assert panel.get_title(loc="left") == "Regret per interaction by alpha"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["best: linucb alpha=1"]
    assert drawn(curves, "best")[0][-1] == [20, 1]
    assert [points[-1][1] for line in curves.get_lines() if len(points := line.get_xydata())] == [1, 2, 0]


def test_the_axis_is_linear_for_less_than_a_decade_and_for_what_is_not_positive(level):
    for values, scale in (([1, 10], "linear"), ([1, 11], "log"), ([0, 11], "linear"), ([-1, -20], "linear")):
        frame = tabulate([{"agent": "a", "x": value} for value in values], [level(1, 2), level(2, 2)])
        assert draw_sweep(frame, {"a": level(1)}, ["x"], "regret", "").axes[0].get_xscale() == scale


def test_several_settings_are_drawn_as_clouds_with_the_best_of_each_value(level):
    pairs = [(1, 8), (1, 16), (2, 8), (2, 16)]
    settings = [{"agent": "a", "alpha": alpha, "batch-size": batch} for alpha, batch in pairs]
    frame = tabulate(settings, [level(4, 4), level(3, 3), level(1, 1), level(2, 2)])
    alpha, batch, curves = draw_sweep(frame, {"a": level(1)}, ["alpha", "batch-size"], "regret", "").axes
    assert sorted(dots(alpha, "configurations")[0]) == [[1, 3], [1, 4], [2, 1], [2, 2]]
    assert drawn(alpha, "best") == [[[1, 3], [2, 1]]]
    assert drawn(batch, "best") == [[[8, 1], [16, 2]]]
    assert words(alpha) + words(batch) == ["2", "8"]
    assert alpha.get_ylim() == batch.get_ylim()
    assert curves.get_position().width > 1.9 * alpha.get_position().width


def test_the_best_of_values_drawn_at_random_is_taken_in_intervals():
    x = np.linspace(0, 12, 121)
    y = np.arange(121) % 10 + x
    best_x, best_y = best_line(x, y, is_low=True)
    assert best_x.tolist() == pytest.approx(list(range(12)))
    assert best_y.tolist() == pytest.approx(list(range(12)))
    high_x, _ = best_line(x, y, is_low=False)
    assert high_x[0] == pytest.approx(0.9)
    assert len(best_line(10**x, y, is_low=True, is_logarithmic=True)[0]) == 12
    assert best_line(np.array([1.0, 2.0]), np.array([np.nan, 3.0]), is_low=True)[0].tolist() == [2]


def test_categories_have_a_place_each_and_agents_a_colour_each(level):
    settings = [
        {"agent": agent, "layers": layers, "bias": bias}
        for agent in ("a", "b")
        for layers, bias in (((128,), True), ((64, 32), False))
    ]
    frame = tabulate(settings, [level(4, 4), level(3, 3), level(1, 1), level(2, 2)])
    layers, bias, _ = (figure := draw_sweep(frame, {"a": level(1)}, ["layers", "bias"], "regret", "")).axes
    assert [text.get_text() for text in layers.get_xticklabels()] == ["64x32", "128"]
    assert [text.get_text() for text in bias.get_xticklabels()] == ["false", "true"]
    best = [c for c in layers.collections if c.get_label() == "best"]
    assert [segment[0][1] for c in best for segment in c.get_segments()] == [2, 1, 3, 4]  # of b, the better one, first
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["b", "a", "best: b layers=128 bias=true"]
    assert [sign.get_color() for sign in legend.legend_handles] == list(COLOURS[:3])


def test_a_setting_that_one_agent_has_is_drawn_for_that_one_alone(level):
    settings = [{"agent": "a", "alpha": 1.0}, {"agent": "b", "epsilon": 0.1}, {"agent": "b", "epsilon": 0.2}]
    frame = tabulate(settings, [level(1, 1), level(2, 2), level(3, 3)])
    alpha, epsilon, _ = draw_sweep(frame, {"a": level(1)}, ["alpha", "epsilon"], "regret", "").axes
    assert dots(alpha, "configurations") == [[[1, 1]]]
    assert dots(epsilon, "configurations") == [[[0.1, 2], [0.2, 3]]]
    assert words(epsilon) == []  # the best does not have it


def test_agents_alone_are_drawn_in_the_order_of_their_ranks_and_in_the_colours_of_their_curves(level):
    frame = tabulate([{"agent": "worse"}, {"agent": "good"}], [level(2, 2), level(1, 1)])
    for swept in ([], ["agent"]):
        panel, curves = draw_sweep(frame, {"good": level(1, 1), "worse": level(2, 2)}, swept, "regret", "").axes
        assert [text.get_text() for text in panel.get_xticklabels()] == ["good", "worse"]
        colours = [c.lines[0].get_color() for c in panel.containers if len(c.lines[0].get_xdata())]
        assert colours == [line.get_color() for line in curves.get_lines()[:2]] == list(COLOURS[:2])


def test_dropped_configurations_are_faded_and_not_part_of_the_line(level):
    settings = [{"agent": "a", "x": x, "y": 1} for x in (1, 2, 3)]
    curves = [level(3, 3), level(2, 2), level(1, 1, rounds=20)]
    frame = tabulate(settings, curves, rungs=[1, 1, 0])
    figure = draw_sweep(frame, {"a": level(1)}, ["x", "y"], "regret", "")
    assert dots(figure.axes[0], "configurations") == [[[1, 3], [2, 2]]]
    assert dots(figure.axes[0], "dropped") == [[[3, 1]]]
    assert drawn(figure.axes[0], "best") == [[[1, 3], [2, 2]]]
    faded, clear = (
        next(c.get_alpha() for c in figure.axes[0].collections if c.get_label() == label)
        for label in ("dropped", "configurations")
    )
    assert faded < clear
    assert "dropped earlier, after fewer interactions" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_diverged_configuration_is_a_cross_at_the_top_and_nothing_finite_is_still_a_picture(tmp_path, level):
    settings = [{"agent": "a", "alpha": 1}, {"agent": "a", "alpha": 2}]
    figure = draw_sweep(tabulate(settings, [level(1, np.nan), level(2, 2)]), {"a": level(2)}, ["alpha"], "regret", "")
    assert [points[0][0] for points in drawn(figure.axes[0], "not finite")] == [1]
    assert words(figure.axes[0]) == ["2"]
    frame = tabulate(settings, [level(np.nan), level(np.nan)])
    plot_sweep(tmp_path / "sweep.png", frame, {"a": level(np.nan)}, swept=["alpha"], title="$\\x$")
    assert image.imread(tmp_path / "sweep.png").size > 0


def test_a_metric_that_spans_much_is_logarithmic_where_low_is_good(level):
    settings = [{"agent": "a", "alpha": alpha} for alpha in (1, 2)]
    curves = [level(0.01, 0.01), level(1.0, 1.0)]
    for metric, scale in (("regret", "log"), ("average_return", "linear"), ("suboptimal_arms", "linear")):
        figure = draw_sweep(tabulate(settings, curves, metric=metric), {"a": curves[0]}, ["alpha"], metric, "")
        assert figure.axes[0].get_yscale() == scale


@pytest.mark.parametrize("metric", ["average_return", "average_return_so_far", "normalized_regret", "suboptimal_arms"])
def test_the_curves_are_those_of_the_metric_or_else_of_regret(level, metric):
    frame = tabulate([{"agent": "a", "alpha": 1}], [level(1, 1)], metric=metric)
    curves = draw_sweep(frame, {"a": level(1, 1)}, ["alpha"], metric, "").axes[1]
    end = {"average_return": 3, "average_return_so_far": 3, "normalized_regret": 1, "suboptimal_arms": 1}[metric]
    assert drawn(curves, "a")[0][-1][1] == end


def test_long_names_of_the_best_stand_below_their_curves_and_inside_the_picture(tmp_path, level):
    label = "neural-epsilon-greedy " + " ".join(f"setting-{i}=0.12345" for i in range(9))
    frame = tabulate([{"agent": "a", "alpha": 1}], [level(1, 1)])
    figure = draw_sweep(frame, {label: level(1, 1)}, ["alpha"], "regret", "")
    figure.canvas.draw()
    legend, panel = figure.axes[1].get_legend().get_window_extent(), figure.axes[1].get_window_extent()
    assert legend.y1 < panel.y0
    assert legend.y0 > 0
    assert legend.x1 < figure.bbox.x1


def test_the_picture_is_a_png_and_one_that_cannot_be_written_is_bad_input(tmp_path, level):
    plot_sweep(tmp_path / "sweep.png", grid(level), {"a": level(1)}, swept=["alpha"], title="title")
    pixels = image.imread(tmp_path / "sweep.png")
    assert pixels.shape[1] == 1600
    assert 0.01 < np.mean(pixels[..., :3].min(axis=-1) < 0.9) < 0.5
    with pytest.raises(InputError, match="cannot write"):
        plot_sweep(tmp_path, grid(level), {"a": level(1)}, swept=["alpha"], title="")
