"""What a study searches: reading, checks, types of values, points on this machine."""

import json

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.vertex import trials
from jaxbandit.vertex.local_runner import suggestions
from jaxbandit.vertex.study import Parameter, Study, checked, read_parameters

ALPHA = "alpha=double:log:0.01:30"


def study(*texts: str, **entries: object) -> Study:
    return checked(Study(parameters=read_parameters(texts), **{"trials": 8, "parallel": 2} | entries))


def test_parameters_are_read_with_their_kinds_and_scales():
    assert read_parameters(
        [ALPHA, "train_steps=int:1:8", "batch-size=discrete:64,32", "agent=categorical:linucb,lints"]
    ) == (
        Parameter("alpha", "double", (0.01, 30.0), "log"),
        Parameter("train-steps", "int", (1, 8)),
        Parameter("batch-size", "discrete", (32.0, 64.0)),
        Parameter("agent", "categorical", ("linucb", "lints")),
    )


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["alpha"], "allowed: NAME=double:"),
        (["alpha=float:0:1"], "allowed: NAME=double:"),
        (["alpha=double:0.1"], "tune alpha is '0.1'"),
        (["alpha=double:a:b"], "tune alpha is 'a:b'"),
        (["alpha=double:nan:1"], "tune alpha"),
        (["alpha=double:2:1"], "goes from 2.0 to 1.0; allowed: a minimum below the maximum"),
        (["alpha=double:1:1"], "a minimum below the maximum"),
        (["alpha=double:log:0:1"], "on a log scale; allowed: a minimum > 0"),
        (["k=int:0.5:3"], "tune k"),
        (["k=discrete:1,b"], "numbers, as discrete:32,64,128"),
        (["k=discrete:1,1"], "different values"),
        (["agent=categorical:a,,b"], "none of them empty"),
        ([ALPHA, "--alpha=int:1:2"], "tune has alpha twice"),
    ],
)
def test_parameters_that_cannot_be_are_refused(texts, words):
    with pytest.raises(InputError, match="tune") as refused:
        read_parameters(texts)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("texts", "entries", "words"),
    [
        ([], {}, "tune is missing"),
        ([ALPHA], {"algorithm": "grid"}, "tune has double alpha in a grid search"),
        ([ALPHA], {"algorithm": "annealing"}, "unknown algorithm 'annealing': "),
        ([ALPHA], {"metric": "final_regrets"}, "did you mean 'final_regret'?"),
        ([ALPHA], {"stop_early": "mean"}, "unknown stop-early"),
        ([ALPHA], {"parallel": 9}, "parallel is 9 of 8 trials; allowed: 1 to 8"),
        ([ALPHA], {"trials": 0}, "trials is 0"),
        ([ALPHA], {"max_failed": 0}, "max-failed is 0 of 8 trials; allowed: 1 to 8"),
    ],
)
def test_a_study_that_cannot_be_is_refused(texts, entries, words):
    with pytest.raises(InputError) as refused:
        study(*texts, **entries)
    assert words in str(refused.value)


def test_what_is_better_follows_from_the_metric():
    assert study(ALPHA).goal == "MAXIMIZE"
    assert study(ALPHA, metric="final_regret").goal == "MINIMIZE"
    assert study(ALPHA, metric="interactions_per_second").goal == "MAXIMIZE"


def test_numbers_of_the_service_are_cast_back_by_their_names():
    of = study(
        ALPHA, "train-steps=int:1:8", "batch-size=discrete:32,64", "epsilon=discrete:0.1,1", "bias=categorical:true,1"
    )
    typed = of.typed({"bias": "true", "epsilon": 1.0, "batch-size": 32.0, "train-steps": 8.0, "alpha": 3})
    assert json.dumps(typed) == '{"bias": "true", "epsilon": 1.0, "batch-size": 32, "train-steps": 8, "alpha": 3.0}'


def job(of: Study, *values: float | None, state: str = "SUCCEEDED") -> dict:
    found = []
    for number, value in enumerate(values, start=1):
        metric = {"metricId": of.metric} | ({"value": value} if value else {})  # JSON of protos leaves 0 out
        final = (
            {} if value is None else {"finalMeasurement": {"metrics": [{"metricId": "other", "value": 99.0}, metric]}}
        )
        found.append(
            {"id": str(number), "state": state, "parameters": [{"parameterId": "alpha", "value": number}]} | final
        )
    return {"name": "job", "trials": found}


@pytest.mark.parametrize(
    ("metric", "values", "number"),
    [
        ("final_average_return", (-3.0, -1.0, -2.0), "2"),
        ("final_average_return", (-3.0, 0.0, -2.0), "2"),
        ("final_regret", (0.3, 0.0, 0.2), "2"),
        ("final_regret", (None, 0.2, 0.2), "2"),
        ("final_regret", (float("nan"), 0.2, 0.1), "3"),
    ],
)
def test_the_best_trial_has_the_best_value_whatever_its_sign(metric, values, number):
    of = study(ALPHA, metric=metric)
    best = trials.best(of, trials.read(of, job(of, *values)), "job")
    assert trials.describe(of, best) == {
        "trial": number,
        "metric": {"name": metric, "goal": of.goal, "value": values[int(number) - 1]},
        "parameters": {"alpha": float(number)},
    }


def test_trials_that_did_not_succeed_are_not_the_best():
    of = study(ALPHA)
    found = job(of, 1.0, 2.0)
    found["trials"][1]["state"] = "INFEASIBLE"
    assert trials.best(of, trials.read(of, found), "job").number == "1"


SCALES = [
    ALPHA,
    "a=double:-1:1",
    "b=double:reverse-log:1:100",
    "c=int:1:3",
    "d=int:log:1:100",
    "e=discrete:1,2.5",
    "f=categorical:x,y",
]


def test_points_on_this_machine_lie_within_their_ranges_and_reach_all_of_them():
    of = study(*SCALES, trials=64)
    points = suggestions(of)
    assert len(points) == 64
    assert points == suggestions(of)
    for parameter in of.parameters:
        found = [point[parameter.name] for point in points]
        if parameter.kind in ("double", "int"):
            low, high = parameter.values
            assert low <= min(found) < low + 0.2 * (high - low) + 1
            assert low + 0.6 * (high - low) < max(found) <= high
        else:
            assert set(found) == set(map(parameter.typed, parameter.values))
    below = sum(point["alpha"] < (0.01 * 30) ** 0.5 for point in points)
    assert 28 <= below <= 36  # half of them below the geometric mean
    above = sum(point["b"] > 101 - 10 for point in points)
    assert 28 <= above <= 36


def test_a_grid_on_this_machine_has_every_point_once():
    of = study("c=int:1:3", "f=categorical:x,y", algorithm="grid")
    points = suggestions(of)
    assert sorted((p["c"], p["f"]) for p in points) == [(c, f) for c in (1, 2, 3) for f in "xy"]
