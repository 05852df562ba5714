"""What a sweep consists of: grids, samples, groups, and the files that name configurations."""

import json
import math
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config, checked, flag_values, read_config, read_entries, takes_ratings
from jaxbandit.experiments.sweep_config import SweepConfig, difference, expand, make_sweep_config, read_sweep_config
from jaxbandit.experiments.world import group_members


def grid(env="linear", agents=("linucb",), **axes):
    return expand(agents, env, grid=axes)


def sample(count, agents=("linucb",), env="linear", **options):
    axes = {name: options.pop(name) for name in list(options) if name not in ("sampler", "seed", "grid")}
    return expand(agents, env, sample=axes, num_configs=count, **options)


def refused(*words, call=grid, **options):
    with pytest.raises(InputError) as error:
        call(**options)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value), (word, str(error.value))


def test_a_grid_is_the_product_of_its_values_the_last_axis_fastest() -> None:
    assert grid(alpha="1,0.5", batch_size="32,8") == [
        {"agent": "linucb", "alpha": alpha, "batch-size": batch} for alpha, batch in product((1.0, 0.5), (32, 8))
    ]


def test_agents_come_one_after_the_other_and_have_only_the_settings_that_are_theirs() -> None:
    found = grid(agents=("linucb", "lints", "uniform"), alpha="1,2", sampling="theta,arm")
    assert found == [
        {"agent": "linucb", "alpha": 1.0},
        {"agent": "linucb", "alpha": 2.0},
        *({"agent": "lints", "alpha": a, "sampling": s} for a, s in product((1.0, 2.0), ("theta", "arm"))),
        {"agent": "uniform"},
    ]


def test_equal_values_make_one_configuration() -> None:
    assert grid(alpha="1,1.0,1e0,2") == [{"agent": "linucb", "alpha": 1.0}, {"agent": "linucb", "alpha": 2.0}]
    assert len(sample(64, alpha="1,2,3")) == 3
    assert len(sample(64, agents=("linucb", "uniform"), alpha="1,2,3")) == 4


def test_values_have_the_kind_of_their_setting() -> None:
    assert [c["batch-size"] for c in grid(batch_size="32.0,8")] == [32, 8]
    assert [c["add-bias"] for c in grid(add_bias="false,true")] == [False, True]
    assert [c["num-actions"] for c in grid(num_actions="3,5")] == [3, 5]
    assert [c["user-layers"] for c in grid(agents=("neural-boltzmann",), user_layers="64x32,8")] == ["64x32", "8"]
    assert [c["standardize"] for c in grid("mf", standardize="auto,true")] == [None, True]


def test_a_grid_may_be_evenly_spaced_between_its_ends() -> None:
    assert [c["alpha"] for c in grid(alpha="log:0.01:100:5")] == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert [c["gamma"] for c in grid(gamma="linear:0.5:1:3")] == [0.5, 0.75, 1.0]
    ends = [c["alpha"] for c in grid(alpha="log:0.12345649:0.12345651:2")]
    assert ends == [0.12345649, 0.12345651]  # six digits of either lie outside


def test_a_grid_of_whole_numbers_has_all_of_them_or_some_that_are_spaced() -> None:
    assert [c["num-actions"] for c in grid(num_actions="int:2:5")] == [2, 3, 4, 5]
    assert [c["batch-size"] for c in grid(batch_size="int:log:1:1024:6")] == [1, 4, 16, 64, 256, 1024]
    assert [c["batch-size"] for c in grid(batch_size="int:linear:1:4:9")] == [1, 2, 3, 4]  # each once


def test_a_reverse_logarithmic_range_is_fine_at_its_upper_end() -> None:
    assert [c["gamma"] for c in grid(gamma="reverse-log:0.01:1:3")] == [0.01, 0.91, 1.0]
    drawn = [c["gamma"] for c in sample(64, gamma="reverse-log:0.01:1")]
    assert all(0.01 <= value <= 1 for value in drawn)
    assert 28 <= sum(value > 0.91 for value in drawn) <= 36


def test_the_words_of_vertex_ai_may_stand_before_a_range_and_before_values() -> None:
    same = {"alpha": "log:0.1:10", "gamma": "linear:0.5:1", "batch-size": "8,32", "ties": "random,first"}
    words = {
        "alpha": "double:log:0.1:10",
        "gamma": "double:0.5:1",
        "batch-size": "discrete:8,32",
        "ties": "categorical:random,first",
    }
    assert sample(8, **words) == sample(8, **same)
    assert grid(alpha="double:log:0.1:10:3", ties=words["ties"]) == grid(alpha="log:0.1:10:3", ties=same["ties"])


def test_whole_numbers_may_be_drawn_on_a_logarithmic_scale() -> None:
    drawn = [c["batch-size"] for c in sample(64, batch_size="int:log:1:1024", alpha="linear:0:1")]
    assert all(isinstance(value, int) and 1 <= value <= 1024 for value in drawn)
    assert 28 <= sum(value <= 32 for value in drawn) <= 38


def test_layers_and_automatic_settings_arrive_in_the_configs() -> None:
    sweep_config = make_sweep_config(
        Config(), {}, ["neural-boltzmann"], grid={"user-layers": "64x32,8", "standardize": "auto,true"}, sample={}
    )
    configs = [(c.agent_settings["user_layers"], c.env_settings["standardize"]) for c in sweep_config.configs()]
    assert configs == [((64, 32), None), ((64, 32), True), ((8,), None), ((8,), True)]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"alhpa": "1"}, ("'alhpa'", "did you mean 'alpha'?", "batch-size", "sigma")),
        ({"seeds": "1,2"}, ("nothing to sweep is called 'seeds'",)),
        ({"agent": "linucb,lints"}, ("nothing to sweep is called 'agent'",)),
        ({"temperature": "1"}, ("nothing to sweep is called 'temperature'",)),
        ({"alpha": "1,-1"}, ("alpha is '-1'", "a number >= 0")),
        ({"alpha": "1,,2"}, ("alpha is ''",)),
        ({"alpha": "auto"}, ("alpha is 'auto'", "a number")),
        ({"batch_size": "0,1"}, ("batch_size is '0'", ">= 1")),
        ({"batch_size": "1.5"}, ("batch_size is '1.5'", "a whole number")),
        ({"ties": "random,last"}, ("ties is 'last'", "random")),
        ({"num_actions": "1,2"}, ("num_actions is '1'", ">= 2")),
        ({"alpha": "log:0.1:1"}, ("alpha is 'log:0.1:1'", "log:LOW:HIGH:COUNT")),
        ({"alpha": "log:0:1:3"}, ("LOW < HIGH, both > 0",)),
        ({"alpha": "linear:0:1:1"}, ("COUNT of alpha is '1'", ">= 2")),
        ({"alpha": "linear:0:1:x"}, ("COUNT of alpha is 'x'", "a whole number")),
        ({"alpha": "double:log:1:8"}, ("alpha is 'double:log:1:8'", "double:log:LOW:HIGH:COUNT")),
        ({"batch_size": "int:8:1"}, ("batch_size is 'int:8:1'", "LOW < HIGH")),
        ({"batch_size": "int:1"}, ("batch_size is 'int:1'", "int:LOW:HIGH")),
        ({"batch_size": "int:1:2147483647"}, ("2,147,483,647 configurations", "1 to 100,000")),
        ({"batch_size": "linear:1:8:2"}, ("batch_size is 'linear:1:8:2'", "int:LOW:HIGH")),
    ],
)
def test_a_grid_with_a_fault_is_refused(axes, words) -> None:
    refused(*words, **axes)


RANGES = {"alpha": "log:0.01:10", "gamma": "linear:0.5:1", "num-actions": "int:2:5", "ties": "random,first"}


@pytest.mark.parametrize("sampler", ["sobol", "random"])
@pytest.mark.parametrize("count", [1, 3, 100])  # no power of two warns, and warnings are errors here
def test_draws_lie_within_their_ranges_and_reach_all_whole_numbers(sampler, count) -> None:
    found = sample(count, sampler=sampler, **RANGES)
    assert len(found) == count
    assert all(0.01 <= c["alpha"] <= 10 and 0.5 <= c["gamma"] <= 1 for c in found)
    assert all(isinstance(c["num-actions"], int) for c in found)
    if count == 100:
        assert {c["num-actions"] for c in found} == {2, 3, 4, 5}
        assert {c["ties"] for c in found} == {"random", "first"}
        assert sum(c["alpha"] < 10**-0.5 for c in found) in range(40, 61)  # half of the decades
        assert sum(c["gamma"] < 0.75 for c in found) in range(40, 61)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e3), st.floats(1e-9, 1e3), st.sampled_from(["log", "linear"]), st.integers(0, 100))
def test_no_draw_leaves_its_range_however_it_is_written(low, width, scale, seed) -> None:
    high = low + width
    found = sample(16, alpha=f"{scale}:{low!r}:{high!r}", seed=seed)
    assert all(low <= c["alpha"] <= high for c in found)


def test_sobol_points_are_balanced() -> None:
    found = sample(64, alpha="linear:0:8", gamma="linear:0.2:1", num_actions="int:2:5")
    counts = np.histogram2d([c["alpha"] for c in found], [c["gamma"] for c in found], bins=8, range=[(0, 8), (0.2, 1)])
    assert np.all(counts[0] == 1)
    assert [sum(c["num-actions"] == k for c in found) for k in (2, 3, 4, 5)] == [16] * 4


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_draws_are_those_of_the_seed(sampler) -> None:
    one, same, other = (sample(8, alpha="log:0.1:1", sampler=sampler, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert not {c["alpha"] for c in one} & {c["alpha"] for c in other}


def test_the_first_draws_are_those_of_a_smaller_sample() -> None:
    assert sample(16, alpha="log:0.1:1")[:5] == sample(5, alpha="log:0.1:1")


def test_agents_share_the_draws_of_a_shared_setting() -> None:
    found = sample(4, agents=("linucb", "lints", "uniform"), alpha="log:0.1:1")
    values = [[c["alpha"] for c in found if c["agent"] == agent] for agent in ("linucb", "lints")]
    assert values[0] == values[1]
    assert [c for c in found if c["agent"] == "uniform"] == [{"agent": "uniform"}]


def test_a_sample_is_drawn_at_each_grid_point() -> None:
    found = sample(4, alpha="log:0.1:1", grid={"add_bias": "true,false"})
    assert len(found) == 8
    assert [c["alpha"] for c in found[:4]] == [c["alpha"] for c in found[4:]]
    assert [c["add-bias"] for c in found] == [True] * 4 + [False] * 4


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"alpha": "log:0:1"}, ("alpha is 'log:0:1'", "LOW < HIGH, both > 0")),
        ({"alpha": "log:1:1"}, ("alpha is 'log:1:1'", "LOW < HIGH")),
        ({"alpha": "linear:2:1"}, ("alpha is 'linear:2:1'", "LOW < HIGH")),
        ({"alpha": "linear:-1:1"}, ("alpha is '-1'", ">= 0")),
        ({"alpha": "linear:0:inf"}, ("alpha is 'inf'", "a number")),
        ({"gamma": "linear:0:1"}, ("gamma is '0'", "> 0 and <= 1")),
        ({"gamma": "log:0.1:2"}, ("gamma is '2'", "> 0 and <= 1")),
        ({"alpha": "log:1"}, ("alpha is 'log:1'", "log:LOW:HIGH")),
        ({"alpha": "log:1:2:3"}, ("log:LOW:HIGH",)),
        ({"alpha": "int:1:2"}, ("alpha is 'int:1:2'", "log:LOW:HIGH | linear:LOW:HIGH")),
        ({"batch_size": "log:1:2"}, ("batch_size is 'log:1:2'", "int:LOW:HIGH")),
        ({"batch_size": "int:0:2"}, ("batch_size is '0'", ">= 1")),
        ({"batch_size": "int:1:2.5"}, ("batch_size is '2.5'", "a whole number")),
        ({"ties": "int:1:2"}, ("ties is 'int:1:2'", "a,b,c")),
        ({"alpha": "normal:0:1"}, ("alpha is 'normal:0:1'", "a number")),
        ({"alhpa": "log:1:2"}, ("did you mean 'alpha'?",)),
    ],
)
def test_a_range_with_a_fault_is_refused(axes, words) -> None:
    refused(*words, call=sample, count=4, **axes)


def test_samples_need_a_number_and_a_name_stands_in_one_place() -> None:
    refused("num_configs is 0", call=sample, count=0, alpha="log:1:2")
    refused("num_configs is 1000000", call=sample, count=10**6, alpha="log:1:2")
    refused("sample and num-configs go together", call=sample, count=None, alpha="log:1:2")
    refused("sample and num-configs go together", call=sample, count=3)
    refused("alpha is in grid and in sample", call=sample, count=3, alpha="log:1:2", grid={"alpha": "1,2"})
    refused("sampler is 'halton'", "sobol | random", call=sample, count=3, alpha="log:1:2", sampler="halton")


def planned(base=None, given=(), agents=("linucb",), **options):
    axes = {"grid": {}, "sample": {}, **options}
    return make_sweep_config(base or Config(env="linear"), dict(given), list(agents), **axes)


def test_a_flag_of_several_agents_is_given_to_all_that_have_it() -> None:
    sweep_config = planned(given={"agent__alpha": 3.0, "agent__sampling": "arm"}, agents=("linucb", "lints", "greedy"))
    assert [c.agent for c in sweep_config.configs()] == ["linucb", "lints", "greedy"]
    assert [c.agent_settings.get("alpha") for c in sweep_config.configs()] == [3.0, 3.0, None]
    assert sweep_config.configs()[1].agent_settings["sampling"] == "arm"


def test_flags_and_config_hold_for_all_configurations() -> None:
    base = Config(env="wheel", batch_size=7, env_settings={"delta": 0.25}, agent_settings={"gamma": 0.5})
    given = {"seeds": 3, "env__std": 0.5, "agent__tikhonov_weight": 2.0}
    for config in planned(base, given, grid={"alpha": "1,2"}).configs():
        assert (config.env, config.batch_size, config.seeds) == ("wheel", 7, 3)
        assert (config.env_settings["delta"], config.env_settings["std"]) == (0.25, 0.5)
        assert (config.agent_settings["gamma"], config.agent_settings["tikhonov_weight"]) == (0.5, 2.0)


def test_only_what_differs_counts_as_swept() -> None:
    assert planned(grid={"alpha": "1,2", "gamma": "1"}).swept == ["alpha"]
    assert planned(agents=("linucb", "lints"), given={"agent__alpha": 2.0}).swept == ["agent"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ("there is one configuration", "--grid")),
        ({"grid": {"alpha": "1"}}, ("there is one configuration",)),
        ({"grid": {"alpha": "1,2"}, "given": {"agent__alpha": 1.0}}, ("alpha is given a value and swept",)),
        ({"grid": {"batch-size": "1,2"}, "given": {"batch_size": 1}}, ("batch-size is given a value and swept",)),
        (
            {"grid": {"num-actions": "3,4"}, "given": {"env__num_actions": 3}},
            ("num-actions is given a value and swept",),
        ),
        ({"grid": {"alpha": "1,2"}, "eta": 2}, ("eta is 2 and there are 2 configurations",)),
        ({"grid": {"alpha": "1,2"}, "given": {"seeds": 0}}, ("seeds is 0", ">= 1")),
        ({"sample": {"alpha": "log:1:2"}, "num_configs": 2, "given": {"seed": -1}}, ("seed is -1", ">= 0")),
    ],
    ids=str,
)
def test_a_plan_with_a_fault_is_refused(options, words) -> None:
    refused(*words, call=planned, **options)


@pytest.mark.parametrize("entries", [{"metric": "speed"}, {"eta": 1}, {"configurations": ()}], ids=str)
def test_a_plan_made_by_hand_is_checked_before_anything_runs(entries) -> None:
    sweep_config = replace(planned(grid={"alpha": "1,2"}), **entries)
    with pytest.raises(InputError):
        sweep_config.configs()


def test_configurations_that_differ_in_traced_settings_alone_share_a_group() -> None:
    axes = {"alpha": "1,2", "add-bias": "true,false", "batch-size": "4,8", "gamma": "0.5,1"}
    configs = planned(agents=("linucb", "lints"), grid=axes).configs()
    found = group_members(configs)
    assert sorted(i for members in found for i in members) == list(range(len(configs)))
    assert len(found) == 2 * 2 * 2
    for members in found:
        assert len(members) == 4
        assert members == sorted(members)
        same = {(configs[i].agent, configs[i].batch_size, configs[i].agent_settings["add_bias"]) for i in members}
        assert len(same) == 1


@pytest.mark.parametrize("name", ["num_actions", "context_dim", "sigma", "normalized", "training_loops"])
def test_every_value_of_the_world_and_of_the_schedule_has_a_group(name) -> None:
    values = {"normalized": "true,false"}.get(name, "3,4")
    assert group_members(planned(grid={name: values, "alpha": "1,2"}).configs()) == [[0, 1], [2, 3]]


def other_value(setting: Hyperparameter):
    """A value that is allowed and not the default."""
    if setting.kind == "choice":
        return next(choice for choice in setting.choices if choice != setting.default)
    if setting.kind in ("ints", "floats"):
        return {"ints": (5, 3), "floats": (0.25, 1.0)}[setting.kind]
    if setting.kind == "bool":
        return not setting.default
    if setting.kind == "text":
        return "greedy+uniform"
    return 3 if setting.kind == "int" else 0.37


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_config_written_as_flags_is_read_back_the_same(agent, env, tmp_path) -> None:
    settings = {
        kind: {name: other_value(s) for name, s in hyperparameters(factory).items()}
        for kind, factory in (("env_settings", ENVIRONMENTS[env]), ("agent_settings", AGENTS[agent]))
    }
    ratings = {"ratings": "synth-1m", "user_column": "u"} if takes_ratings(env) else {}
    for config in (Config(env=env, agent=agent), Config(env=env, agent=agent, seed=4, **settings, **ratings)):
        written = json.dumps(flag_values(checked(config)))
        assert "_" not in "".join(json.loads(written))  # names of flags
        assert all(isinstance(value, str | int | float) for value in json.loads(written).values())
        assert checked(read_entries(json.loads(written))) == checked(config)
        (tmp_path / "best.json").write_text(written)
        assert read_config(str(tmp_path / "best.json")) == checked(config)


def test_the_best_values_of_a_tuning_study_are_a_config(tmp_path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"batch-size": 32, "num-actions": 8.0}))
    config = read_config(str(path))
    assert config == checked(Config(batch_size=32, env_settings={"num_actions": 8}))
    path.write_text(json.dumps({"batch-size": 32, "num-arms": 8}))
    with pytest.raises(InputError, match="num_arms"):
        read_config(str(path))


def written(sweep_config: SweepConfig):
    return json.loads(json.dumps(asdict(sweep_config)))


def test_a_plan_is_read_back_from_its_file() -> None:
    axes = {"grid": {"user-layers": "8x4,3"}, "sample": {"learning-rate": "log:1e-4:1e-1"}, "num_configs": 3}
    sweep_config = planned(agents=("neural-boltzmann", "linucb"), **axes, metric="cumulative_regret", eta=2)
    assert read_sweep_config(written(sweep_config)).configs() == sweep_config.configs()
    assert read_sweep_config(written(sweep_config)) == sweep_config
    assert difference(read_sweep_config(written(sweep_config)), sweep_config) == ""


def test_plans_differ_in_what_is_named() -> None:
    sweep_config = planned(grid={"alpha": "1,2"})
    others = {
        "seeds 8 and 3": planned(grid={"alpha": "1,2"}, given={"seeds": 3}),
        "metric regret and suboptimal_arms": planned(grid={"alpha": "1,2"}, metric="suboptimal_arms"),
        "eta None and 2": replace(sweep_config, eta=2),
        "configurations 2 and 3": planned(grid={"alpha": "1,2,3"}),
        "'alpha': 2.0": planned(grid={"alpha": "1,3"}),
    }
    for words, other in others.items():
        assert words in difference(sweep_config, other), words


@pytest.mark.parametrize(
    "change",
    [
        {"base": None},
        {"base": {"agnet": "linucb"}},
        {"configurations": 5},
        {"configurations": "linucb"},
        {"configurations": [["agent", "linucb"]]},
        {"configurations": [{"alhpa": 1}]},
        {"configurations": [{"agent": "nobody"}]},
        {"metric": "speed"},
        {"metric": ["regret"]},
        {"eta": "three"},
        {"eta": 1.5},
    ],
    ids=str,
)
def test_a_damaged_plan_is_refused(change) -> None:
    with pytest.raises(InputError):
        read_sweep_config({**written(planned(grid={"alpha": "1,2"})), **change}).configs()


def test_a_plan_of_too_many_configurations_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("jaxbandit.experiments.search_space.MOST", 5)
    assert len(planned(grid={"alpha": "1,2,3,4,5"}).configs()) == 5
    with pytest.raises(InputError, match="6 configurations; allowed: 1 to 5"):
        planned(grid={"alpha": "1,2,3", "gamma": "0.5,1"})
    with pytest.raises(InputError, match="6 configurations; allowed: 1 to 5"):
        planned(grid={"add-bias": "true,false"}, sample={"alpha": "log:1:2"}, num_configs=3)
    with pytest.raises(InputError, match="6 configurations; allowed: 1 to 5"):
        planned(grid={"alpha": "1,2,3"}, agents=("linucb", "lints")).configs()


def test_six_digits_are_written_and_run() -> None:
    drawn = [c["alpha"] for c in sample(64, alpha="log:1e-3:1e3")]
    assert all(float(f"{x:.6g}") == x for x in drawn)
    assert math.isclose(np.mean(np.log10(drawn)), 0, abs_tol=0.1)
