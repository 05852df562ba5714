"""What a sweep tries: grids, ranges and draws."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit.experiments.config import Config
from jaxbandit.experiments.sweep_config import expand, make_sweep_config
from tests.support import assert_input_error


def grid(env="linear", agents=("linucb",), **axes):
    return expand(agents, env, grid=axes)


def sample(count, agents=("linucb",), env="linear", **options):
    axes = {name: options.pop(name) for name in list(options) if name not in ("sampler", "seed", "grid")}
    return expand(agents, env, sample=axes, num_configs=count, **options)


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
    assert_input_error(grid, *words, **axes)


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
    assert_input_error(sample, *words, count=4, **axes)


def test_samples_need_a_number_and_a_name_stands_in_one_place() -> None:
    assert_input_error(sample, "num_configs is 0", count=0, alpha="log:1:2")
    assert_input_error(sample, "num_configs is 1000000", count=10**6, alpha="log:1:2")
    assert_input_error(sample, "sample and num-configs go together", count=None, alpha="log:1:2")
    assert_input_error(sample, "sample and num-configs go together", count=3)
    assert_input_error(sample, "alpha is in grid and in sample", count=3, alpha="log:1:2", grid={"alpha": "1,2"})
    assert_input_error(sample, "sampler is 'halton'", "sobol | random", count=3, alpha="log:1:2", sampler="halton")


def test_six_digits_are_written_and_run() -> None:
    drawn = [c["alpha"] for c in sample(64, alpha="log:1e-3:1e3")]
    assert all(float(f"{x:.6g}") == x for x in drawn)
    assert math.isclose(np.mean(np.log10(drawn)), 0, abs_tol=0.1)
