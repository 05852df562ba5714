"""The configurations of a sweep: what they have in common, their groups, and the files that name them."""

import json
from dataclasses import asdict, replace

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config, checked, flag_values, read_config, read_entries, takes_ratings
from jaxbandit.experiments.sweep_config import SweepConfig, difference, make_sweep_config, read_sweep_config
from jaxbandit.experiments.world import group_members
from tests.support import assert_input_error


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
    assert_input_error(planned, *words, **options)


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
