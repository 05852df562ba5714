import dataclasses
import json

import numpy as np
import pytest

from jaxbandit.reporting import summarize


def test_the_summary_of_two_seeds_has_the_numbers_computed_by_hand(curves):
    summary = summarize(curves, compile_seconds=1.5, run_seconds=4.0)
    final, baselines = summary["final"], summary["baselines"]
    assert (summary["interactions"], summary["interactions_per_seed"], summary["seeds"]) == (40, 20, 2)
    assert final["average_return"] == {"mean": 4.5, "stderr": 0.0}
    assert final["average_return_so_far"] == pytest.approx({"mean": 3.15, "stderr": 0.3})
    assert final["regret"] == pytest.approx({"mean": 0.5, "stderr": 0.5})
    assert final["realized_regret"] == pytest.approx({"mean": 0.5, "stderr": 1.0})
    assert final["cumulative_regret"] == pytest.approx({"mean": 25.0, "stderr": 5.0})
    assert final["normalized_regret"] == pytest.approx({"mean": (75 + 500 / 11) / 2, "stderr": (75 - 500 / 11) / 2})
    assert final["suboptimal_arms"] == pytest.approx({"mean": 0.125, "stderr": 0.125})
    assert baselines["uniform"] == {"mean": 2.0, "stderr": 0.0}
    assert baselines["optimal"] == pytest.approx({"mean": 5.0, "stderr": 1.0})
    assert baselines["uniform_regret"] == pytest.approx({"mean": 3.0, "stderr": 1.0})
    assert baselines["uniform_cumulative_regret"] == pytest.approx({"mean": 42.0, "stderr": 2.0})
    assert summary["seconds"] == {"compile": 1.5, "run": 4.0}
    assert summary["interactions_per_second"] == 10.0


def test_one_seed_has_no_standard_error(make_curves):
    summary = summarize(make_curves(lanes=1), compile_seconds=0.0, run_seconds=1.0)
    estimates = [*summary["final"].values(), *summary["baselines"].values()]
    assert all(estimate["stderr"] is None and estimate["mean"] is not None for estimate in estimates)


def test_the_final_tenth_may_be_several_rows(make_curves):
    longer = make_curves(edges=[0, 27, 28, 30])  # the tenth of 30 rounds: rows of one and of two rounds
    final = summarize(longer, compile_seconds=0.0, run_seconds=1.0)["final"]
    assert final["regret"] == pytest.approx({"mean": 2 / 3, "stderr": 1 / 3})
    assert final["average_return"]["mean"] == pytest.approx((4 + 2 * 4.5) / 3)


def test_rows_that_straddle_the_final_tenth_are_refused_with_the_rounds_named(make_curves):
    with pytest.raises(ValueError, match=r"final tenth of 100 rounds begins at round 90, but .* edges are 9 and 100"):
        summarize(make_curves(edges=[0, 6, 9, 100]), compile_seconds=0.0, run_seconds=1.0)


def test_speed_counts_only_what_this_process_has_simulated(curves):
    assert summarize(curves, compile_seconds=0.0, run_seconds=4.0, simulated=16)["interactions_per_second"] == 4.0
    assert summarize(curves, compile_seconds=0.0, run_seconds=0.0, simulated=0)["interactions_per_second"] is None


def test_a_diverged_or_degenerate_run_still_gives_strict_json(curves):
    nothing = np.zeros_like(curves.sums.regret)
    diverged = curves.sums._replace(average_return=nothing * np.nan, uniform=nothing, optimal=nothing)
    summary = summarize(dataclasses.replace(curves, sums=diverged), compile_seconds=0.0, run_seconds=1.0)
    assert json.loads(json.dumps(summary, allow_nan=False))["final"]["average_return"] == {"mean": None, "stderr": None}
    assert summary["final"]["normalized_regret"] == {"mean": None, "stderr": None}
