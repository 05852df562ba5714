import time

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from jaxbandit._core.errors import InputError
from jaxbandit.reporting import METRICS, final_lanes, summarize, tabulate, write_results


def named(*names):
    return [{"agent": name} for name in names]


def interval(frame, row):
    return list(frame.select("difference", "difference_low", "difference_high").row(row))


def test_every_final_number_of_a_summary_has_a_direction_and_both_columns(curves):
    final = summarize(curves, compile_seconds=0.0, run_seconds=1.0)["final"]
    frame = tabulate(named("a"), [curves])
    assert list(METRICS) == list(final) == list(final_lanes(curves))
    for name, estimate in final.items():
        assert frame.select(name, f"{name}_stderr").row(0) == (estimate["mean"], estimate["stderr"])


def test_configurations_are_ranked_by_regret_upwards_and_by_return_downwards(level):
    curves = [level(2, 2), level(1, 1), level(3, 3)]
    assert tabulate(named("b", "a", "c"), curves)["agent"].to_list() == ["a", "b", "c"]
    upside_down = [run.__class__(2, run.edges, run.sums._replace(average_return=run.sums.regret)) for run in curves]
    frame = tabulate(named("b", "a", "c"), upside_down, metric="average_return")
    assert frame["agent"].to_list() == ["c", "b", "a"]
    assert frame["rank"].to_list() == [1, 2, 3]
    assert frame["difference"].to_list() == [0, -1, -2]


def test_the_difference_to_the_best_is_paired_and_has_the_t_interval_of_scipy(level):
    best, other = np.array([1.0, 2.0, 4.0]), np.array([1.5, 3.0, 4.75])  # differences 0.5, 1, 0.75
    frame = tabulate(named("best", "other"), [level(*best), level(*other)])
    assert interval(frame, 0) == [0, 0, 0]
    low, high = stats.t.interval(0.95, 2, loc=0.75, scale=0.25 / np.sqrt(3))
    assert interval(frame, 1) == pytest.approx([0.75, low, high], rel=1e-12)
    assert high < frame["regret_stderr"][0] * 4.3  # the seeds differ more among themselves than the two do


def test_configurations_of_unequal_seeds_are_compared_over_those_that_both_have(level):
    frame = tabulate(named("short", "best"), [level(2, 4), level(1, 1, 1, 1)])
    assert frame["seeds"].to_list() == [4, 2]
    low, high = stats.t.interval(0.95, 1, loc=2, scale=1)
    assert interval(frame, 1) == pytest.approx([2, low, high])  # 1 and 3


def test_one_seed_has_a_difference_but_no_interval(level):
    frame = tabulate(named("a", "b"), [level(1), level(3)])
    assert interval(frame, 0) == [0, 0, 0]
    assert interval(frame, 1) == [2, None, None]
    assert frame["regret_stderr"].to_list() == [None, None]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", ["regret", "average_return"])
def test_a_diverged_seed_ranks_a_configuration_last_and_shows(level, hole, metric):
    curves = [level(1, 1), level(2, 2)]
    for field in (curves[0].sums.regret, curves[0].sums.average_return):
        field[-1, 1] = hole
    frame = tabulate(named("diverged", "fine"), curves, metric=metric)
    assert frame["agent"].to_list() == ["fine", "diverged"]
    assert np.isnan(frame[metric][1])
    assert frame[f"{metric}_stderr"][1] is None
    assert interval(frame, 1) == [None, None, None]
    assert interval(tabulate(named("diverged"), curves[:1], metric=metric), 0) == [None, None, None]


def test_a_diverged_seed_that_the_best_does_not_have_still_counts(level):
    frame = tabulate(named("best", "diverged"), [level(1, 1), level(0, 0, np.nan)])
    assert frame["agent"].to_list() == ["best", "diverged"]
    assert interval(frame, 1) == [None, None, None]


def test_a_configuration_that_diverges_in_the_last_rung_ranks_below_the_dropped_ones(level):
    curves = [level(np.nan, 1), level(2, 2), level(3, 3)]
    frame = tabulate(named("diverged", "dropped", "kept"), curves, rungs=[1, 0, 1])
    assert frame["agent"].to_list() == ["kept", "dropped", "diverged"]


def test_equals_keep_the_order_in_which_they_were_given(level):
    frame = tabulate(named(*"dacb"), [level(1, 2), level(2, 1), level(0, 0), level(1.5, 1.5)])
    assert frame["agent"].to_list() == ["c", "d", "a", "b"]


def test_later_rungs_come_first_and_dropped_ones_are_compared_at_the_round_where_they_stopped(level):
    best = level(3, 3, rounds=40)
    best.sums.regret[:20] = 5.0  # so it stood at 5 after 20 rounds
    curves = [level(1, 1, rounds=17), level(6, 8, rounds=20), best, level(4, 4, rounds=40)]
    frame = tabulate(named("first", "second", "best", "last"), curves, rungs=[0, 1, 2, 2])
    assert frame["agent"].to_list() == ["best", "last", "second", "first"]
    assert frame["rung"].to_list() == [2, 2, 1, 0]
    assert frame["interactions"].to_list() == [80, 80, 40, 34]
    assert frame["difference"].to_list() == [0, 1, 2, -4]
    coarse = best.__class__(2, best.edges[[0, 36, 40]], best.sums.__class__(*(f[[35, 39]] for f in best.sums)))
    assert interval(tabulate(named("a", "b"), [coarse, curves[1]], rungs=[1, 0]), 1) == [None, None, None]


def test_settings_keep_their_kind_and_are_null_where_an_agent_has_none_such(level):
    settings = [
        {"agent": "linucb", "alpha": 1, "add-bias": True, "seeds": 9},
        {"agent": "neural", "user-layers": (64, 32), "alpha": np.float32(0.5), "mixed": "auto"},
        {"agent": "other", "user-layers": [8], "mixed": False, "rank": 7, "empty": None},
    ]
    frame = tabulate(settings, [level(i, i) for i in range(3)])
    assert frame["alpha"].to_list() == [1.0, 0.5, None]
    assert frame["add-bias"].to_list() == [True, None, None]
    assert frame["user-layers"].to_list() == [None, "64x32", "8"]
    assert frame["mixed"].to_list() == [None, "auto", "false"]
    assert frame["empty"].to_list() == [None] * 3
    assert frame["rank"].to_list() == [1, 2, 3]
    assert frame["rank (setting)"].to_list() == [None, None, 7]
    assert frame["seeds"].to_list() == [2, 2, 2]


def test_csv_and_parquet_hold_the_same_table(tmp_path, level):
    settings = [{"agent": "a", "alpha": 0.1, "bias": True, "layers": (4, 2)}, {"agent": "b", "alpha": 1 / 3}]
    frame = tabulate(settings, [level(1 / 3, 2 / 7), level(np.nan, 1)])
    write_results(tmp_path / "new", frame)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["results.csv", "results.parquet"]
    assert_frame_equal(pl.read_parquet(tmp_path / "new" / "results.parquet"), frame)
    text = pl.read_csv(tmp_path / "new" / "results.csv").cast(frame.schema)
    assert_frame_equal(text, frame, check_exact=True)


def test_an_unknown_metric_is_bad_input(level):
    with pytest.raises(InputError, match="unknown metric 'regrets': did you mean 'regret'"):
        tabulate(named("a"), [level(1)], metric="regrets")


def test_thousands_of_configurations_take_seconds(level):
    run = level(*range(16), rounds=200)
    started = time.perf_counter()
    frame = tabulate([{"alpha": i} for i in range(5000)], [run] * 5000)
    assert time.perf_counter() - started < 30
    assert frame.height == 5000
