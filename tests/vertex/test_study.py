"""What a study searches: reading, checks, types of values, points on this machine."""

import json
from dataclasses import asdict

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.cli import prepare
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.ranges import Range, Values
from jaxbandit.vertex import trials
from jaxbandit.vertex.local_runner import suggestions
from jaxbandit.vertex.study import Parameter, Study, checked, read_parameters, restored

ALPHA = "alpha=double:log:0.01:30"


def study(*texts: str, **entries: object) -> Study:
    return checked(Study(parameters=read_parameters(texts), **{"trials": 8, "parallel": 2} | entries))


def test_parameters_are_read_with_their_kinds_and_scales():
    assert read_parameters(
        [ALPHA, "train_steps=int:1:8", "batch-size=discrete:64,32", "agent=categorical:linucb,lints"]
    ) == (
        Parameter("alpha", Range("float", "log", 0.01, 30.0)),
        Parameter("train-steps", Range("int", "linear", 1, 8)),
        Parameter("batch-size", Values((32, 64))),
        Parameter("agent", Values(("linucb", "lints"))),
    )


@pytest.mark.parametrize(
    ("text", "same", "kind"),
    [
        ("alpha=log:0.01:30", "alpha=double:log:0.01:30", "double"),
        ("gamma=reverse-log:0.5:1", "gamma=double:reverse-log:0.5:1", "double"),
        ("gamma=linear:0.5:1", "gamma=double:0.5:1", "double"),
        ("alpha=1,0.1", "alpha=discrete:0.1,1", "discrete"),
        ("batch-size=128,32", "batch-size=discrete:32,128", "discrete"),
        ("batch-size=int:log:8:128", "batch_size=int:log:8:128", "int"),
        ("features=concat,hadamard", "features=categorical:concat,hadamard", "categorical"),
        ("add-bias=true,false", "add-bias=categorical:true,false", "categorical"),
        ("standardize=auto,true", "standardize=categorical:auto,true", "categorical"),
        ("agent=linucb,lints", "agent=categorical:linucb,lints", "categorical"),
        ("seeds=2,8", "seeds=discrete:2,8", "discrete"),
        ("surprise=log:1:2", "surprise=double:log:1:2", "double"),
    ],
)
def test_the_kind_of_a_parameter_follows_from_its_setting(text, same, kind):
    (parameter,) = read_parameters([text])
    assert (parameter,) == read_parameters([same])
    assert parameter.kind == kind


def test_the_settings_are_those_of_the_agents_that_the_trials_have():
    layers = "user-layers=64x32,8"
    (parameter,) = read_parameters([layers], Config(agent="neural-boltzmann"))
    assert parameter.space == Values(("64x32", "8"))
    assert read_parameters(["agent=linucb,neural-boltzmann", layers])[1] == parameter
    (parameter,) = read_parameters(["temperature=int:1:3"], Config(agent="neural-boltzmann"))
    assert parameter.space == Range("int", "linear", 1, 3)  # of a float, whole numbers alone
    with pytest.raises(InputError, match="tune window is 'log:1:9'; allowed: int:LOW:HIGH"):
        read_parameters(["window=log:1:9"], Config(agent="sliding-window-linucb"))


def test_the_flags_of_a_study_say_which_agent_its_parameters_are_of():
    given = {name: getattr(Study, name) for name in ("metric", "algorithm", "trials", "parallel", "stop_early")}
    given |= {"max_failed": None, "tune": ("temperature=log:0.1:10", "user-layers=8,64x32", "batch-size=8,32")}
    of = prepare.study(("--agent=neural-boltzmann", "--env=wheel"), given)
    assert [parameter.kind for parameter in of.parameters] == ["double", "categorical", "discrete"]
    with pytest.raises(InputError, match="tune temperature is '0'; allowed: a number > 0"):
        prepare.study(("--agent=neural-boltzmann",), given | {"tune": ("temperature=linear:0:1",)})


def test_a_launch_that_was_written_is_read_back():
    for parameter in read_parameters(SCALES):
        assert restored("x", json.loads(json.dumps(asdict(parameter.space)))) == parameter._replace(name="x")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["alpha"], "allowed: NAME=log:"),
        (["alpha=float:0:1"], "allowed: NAME=log:"),
        (["other=float:0:1"], "allowed: NAME=log:"),
        (["alpha=double:0.1"], "tune alpha is 'double:0.1'; allowed: double:LOW:HIGH"),
        (["alpha=double:a:b"], "tune alpha is 'a'"),
        (["alpha=double:nan:1"], "tune alpha"),
        (["alpha=double:2:1"], "tune alpha is 'double:2:1'; allowed: LOW < HIGH"),
        (["alpha=double:1:1"], "allowed: LOW < HIGH"),
        (["alpha=double:log:0:1"], "tune alpha is 'double:log:0:1'; allowed: LOW < HIGH, both > 0"),
        (["k=int:0.5:3"], "tune k is '0.5'; allowed: a whole number"),
        (["batch-size=double:1:3"], "tune batch_size is 'double:1:3'; allowed: int:LOW:HIGH"),
        (["k=discrete:1,b"], "tune k is 'b'; allowed: a number"),
        (["k=discrete:1,1"], "different values"),
        (["agent=categorical:a,,b"], "tune agent is ''"),
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


def test_a_parameter_that_is_zero_has_no_value_in_the_services_json():
    of = study("alpha=0,1")
    (trial,) = trials.read(of, {"trials": [{"id": "1", "parameters": [{"parameterId": "alpha"}]}]})
    assert trial.parameters == {"alpha": 0.0}


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
            low, high = parameter.ends
            assert low <= min(found) < low + 0.2 * (high - low) + 1
            assert low + 0.6 * (high - low) < max(found) <= high
        else:
            assert set(found) == set(parameter.space.members)
    below = sum(point["alpha"] < (0.01 * 30) ** 0.5 for point in points)
    assert 28 <= below <= 36  # half of them below the geometric mean
    above = sum(point["b"] > 101 - 10 for point in points)
    assert 28 <= above <= 36


def test_a_grid_on_this_machine_has_every_point_once():
    of = study("c=int:1:3", "f=categorical:x,y", algorithm="grid")
    points = suggestions(of)
    assert sorted((p["c"], p["f"]) for p in points) == [(c, f) for c in (1, 2, 3) for f in "xy"]
