import io

import numpy as np
import pytest
from rich.console import Console

from jaxbandit.reporting import print_leaderboard, tabulate


def printed(frame, **arguments):
    """Lines of the table and the notes, spaces squeezed."""
    console = Console(file=io.StringIO(), width=30, force_terminal=False)
    print_leaderboard(frame, console=console, **arguments)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def settings(*alphas, **others):
    return [{"agent": "linucb", "alpha": alpha, "gamma": 1.0, **others} for alpha in alphas]


def test_the_leaderboard_has_the_swept_settings_and_the_distance_to_the_best(level):
    frame = tabulate(settings(0.1, 0.3, 1.0), [level(3, 3.5), level(1, 2), level(1.5, 1.8)])
    totals = {"interactions": 120, "seconds": {"run": 4.0, "compile": 1.5}, "interactions_per_second": 30.0}
    lines = printed(frame, swept=["alpha"], totals=totals, directory="runs/[b]x")
    assert lines[:2] == [
        "difference to the best, average suboptimal",
        "alpha regret 95% interval return arms seeds",
    ]
    assert lines[3:] == [
        "1 0.3 1.5 ± 0.5 best 2.5 ± 0.5 100.0 % 2",
        "2 1 1.65 ± 0.15 +0 [-4, 5] 2.35 ± 0.15 100.0 % 2",
        "3 0.1 3.2 ± 0.2 +1.8 [-1.4, 4.9] 0.8 ± 0.2 100.0 % 2",
        "mean ± standard error over 2 seeds; differences are taken seed by seed",
        "in the final tenth of the run",
        "2 configurations are not to be told from the best, their intervals contain 0: rank 2–3 "
        "(no correction for 3 configurations)",
        "120 interactions in 0:04, 30 interactions/s, after 1.5 s of compilation",
        "results in runs/[b]x",
    ]


def test_agents_are_told_apart_and_what_one_does_not_have_is_a_dash(level):
    both = [*settings(0.1), {"agent": "greedy", "epsilon": 0.05}]
    lines = printed(tabulate(both, [level(1, 1), level(2, 2)]), swept=["alpha", "epsilon"])
    assert lines[3].startswith("1 linucb 0.1 – 1.000 best")
    assert lines[4].startswith("2 greedy – 0.05 2.000 +1.000 ")
    assert lines[-1] == "no other configuration has an interval that contains 0"


def test_only_the_first_are_shown_but_all_are_judged(level):
    lines = printed(tabulate(settings(*range(30)), [level(i, i + 1) for i in range(30)]), swept=["alpha"], top=3)
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "3"]
    assert lines[6] == "the first 3 of 30 configurations"
    assert "no correction for 30 configurations" in lines[-1]


def test_ranks_that_are_not_to_be_told_apart_are_named_in_ranges(level):
    sure, unsure = [level(i, i + 0.01) for i in range(3)], [level(0.5, 2), level(1, 6), level(2, 6), level(2, 8)]
    line = printed(tabulate(settings(*range(7)), [*sure, *unsure]), swept=["alpha"])[-1]
    assert line.startswith(
        "4 configurations are not to be told from the best, their intervals contain 0: rank 3, 5–7 ("
    )


def test_halving_shows_rungs_and_counts_the_dropped_apart(level):
    curves = [level(1, 2, rounds=20), level(1.2, 2, rounds=20), level(1.3, 1.9)]
    lines = printed(tabulate(settings(1, 2, 3), curves, rungs=[1, 1, 0]), swept=["alpha"])
    assert lines[1].startswith("rung alpha regret")
    assert [line.split()[1] for line in lines[3:6]] == ["1", "1", "0"]
    assert "a configuration that was dropped is compared with the best after as many rounds" in lines
    assert "rank 2; 1 of them dropped in an earlier rung" in lines[-1]


def test_one_seed_says_that_nothing_tells_chance_from_order(level):
    lines = printed(tabulate(settings(1, 2), [level(1), level(2)]), swept=["alpha"])
    assert not any("±" in line or "[" in line for line in lines)
    assert lines[-1] == "nothing tells chance from the order: intervals need two seeds at least"


def test_a_diverged_configuration_is_shown_as_not_finite(level):
    lines = printed(tabulate(settings(1, 2), [level(1, np.nan), level(2, 2)]), swept=["alpha"])
    assert lines[4].startswith("2 1 not finite – not finite")
    assert lines[-1] == "1 configuration is not finite: a seed diverged, or there is nothing to compare with"


@pytest.mark.parametrize("metric", ["average_return", "suboptimal_arms", "cumulative_regret"])
def test_the_metric_that_ranked_is_the_one_shown_and_no_column_comes_twice(level, metric):
    frame = tabulate(settings(1, 2), [level(1, 2), level(0, 0)], metric=metric)
    lines = printed(frame, swept=["alpha"], metric=metric)
    heading = f"{lines[0]} {lines[1]}"
    assert all(heading.count(word) <= 1 for word in ("return", "arms", "regret"))
    assert metric.split("_")[0] in heading
    assert ("-2 [" in lines[4]) == (metric == "average_return")
    assert ("+100.0" in lines[4]) == (metric == "suboptimal_arms")
    assert any("of the whole run" in line for line in lines) == (metric == "cumulative_regret")
