"""What flags mean to a run and to a sweep: their values, the config below them, and their help."""

import json
from itertools import product

import pytest

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.cli.flags import run_options
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config, checked
from tests.command_line import assert_refused, call


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configs that `run` hands to the experiment, which is not done."""
    configs: list[Config] = []

    class Enough(Exception):
        pass

    def run(config: Config, out: str, **options: object) -> None:
        configs.append(checked(config))
        raise Enough

    monkeypatch.setattr("jaxbandit.experiments.run.run", run)

    def choose(*args: object) -> Config:
        with pytest.raises(Enough):
            call("run", *args)
        return configs[-1]

    return choose


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch):
    """Configs of sweeps that the command hands over, none of which is carried out."""
    swept = []

    class Enough(Exception):
        pass

    def run(sweep_config, out, **options):
        swept.append((sweep_config, options))
        raise Enough

    monkeypatch.setattr("jaxbandit.experiments.sweep.sweep", run)

    def choose(*args: object):
        with pytest.raises(Enough):
            call("sweep", "--env", "wheel", *args)
        return swept[-1]

    return choose


def test_a_grid_takes_several_names_after_one_flag_or_after_several(planned) -> None:
    one, _ = planned("--grid", "alpha=0.1,1,10", "batch-size=32,128", "--seeds", "3")
    two, _ = planned("--seeds=3", "--grid", "alpha=0.1,1,10", "--grid", "batch_size=32,128")
    three, _ = planned("--grid=alpha=0.1,1,10", "batch-size=32,128", "--seeds=3")
    assert one == two == three
    assert len(one.configurations) == 6
    assert {config.seeds for config in one.configs()} == {3}


def test_a_sweep_draws_ranks_and_halves_as_it_is_told(planned) -> None:
    flags = ("--sample", "alpha=log:1e-4:1e-1", "gamma=linear:0.5:1", "--num-configs", "20", "--sampler", "random")
    sweep_config, _ = planned(*flags, "--metric", "suboptimal_arms", "--halving", "eta=3")
    assert (len(sweep_config.configurations), sweep_config.metric, sweep_config.eta) == (20, "suboptimal_arms", 3)
    assert sweep_config.swept == ["alpha", "gamma"]
    assert planned(*flags)[0].configurations == sweep_config.configurations
    assert planned(*flags, "--seed", "1")[0].configurations != sweep_config.configurations
    assert planned(*flags, "--halving", "4")[0].eta == 4


def test_flags_of_a_sweep_fix_settings_of_all_agents_that_have_them(planned) -> None:
    sweep_config, options = planned(
        "--agent", "linucb,lints,greedy", "--gamma", "0.5", "--sampling=arm", "--max-lanes", "7"
    )
    configs = sweep_config.configs()
    assert [config.agent for config in configs] == ["linucb", "lints", "greedy"]
    assert [config.agent_settings["gamma"] for config in configs] == [0.5] * 3
    assert configs[1].agent_settings["sampling"] == "arm"
    assert options["max_lanes"] == 7


def test_a_config_is_the_base_of_a_sweep(planned, finished) -> None:
    sweep_config, _ = planned("--config", finished / "config.json", "--agent", "lints,linucb", "--grid", "gamma=0.5,1")
    assert {(config.batch_size, config.rounds) for config in sweep_config.configs()} == {(8, 300)}
    assert [c.agent_settings["alpha"] for c in sweep_config.configs() if c.agent == "linucb"] == [2.0, 2.0]


def test_help_shows_the_settings_of_all_agents_of_a_sweep() -> None:
    words = " ".join(call("sweep", "--agent", "lints,neural-boltzmann", "--help").out.split())
    for text in ("agent lints:", "--alpha", "agent neural-boltzmann:", "--temperature", "--grid NAME", "--num-configs"):
        assert text in words
    assert "eta=n" in words


def test_flags_take_their_value_after_a_space_or_an_equals_sign(chosen) -> None:
    assert chosen("--alpha", "2.5").agent_settings["alpha"] == 2.5
    assert chosen("--alpha=2.5").agent_settings["alpha"] == 2.5


def test_whole_numbers_may_be_written_as_floats(chosen) -> None:
    config = chosen(
        "--batch-size=32.0", "--seeds", "4.0", "--num-actions=8.0", "--agent=neural-boltzmann", "--embedding-dim=16.0"
    )
    assert (config.batch_size, config.seeds) == (32, 4)
    assert config.env_settings["num_actions"] == 8
    assert config.agent_settings["embedding_dim"] == 16
    assert all(isinstance(value, int) for value in (config.batch_size, config.env_settings["num_actions"]))


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("false", False), ("0", False)])
def test_booleans_have_values(chosen, word, value) -> None:
    assert chosen(f"--add-bias={word}").agent_settings["add_bias"] is value


def test_the_last_of_two_equal_flags_wins(chosen) -> None:
    config = chosen("--agent=greedy", "--alpha", "1", "--agent", "linucb", "--alpha=3", "--seed=1", "--seed=2")
    assert (config.agent, config.agent_settings["alpha"], config.seed) == ("linucb", 3.0, 2)


def test_flags_are_not_abbreviated() -> None:
    assert_refused(call("run", "--alph", "3"), "--alph", "did you mean '--alpha'?")
    assert_refused(call("run", "--agen", "linucb"), "--agen", "did you mean '--agent'?")


def test_widths_of_layers_are_a_list(chosen) -> None:
    config = chosen("--agent", "neural-boltzmann", "--user-layers", "8,4", "--common-layers=16")
    assert config.agent_settings["user_layers"] == (8, 4)
    assert config.agent_settings["common_layers"] == (16,)


def test_automatic_settings_can_be_named(chosen) -> None:
    assert chosen("--standardize=auto").env_settings["standardize"] is None
    assert chosen("--standardize=false").env_settings["standardize"] is False


def test_flags_without_a_value_take_true_and_false_as_tuning_services_write_them(chosen) -> None:
    assert chosen("--profile=true", "--distributed=false", "--alpha=3.0", "--batch-size", "32.0").batch_size == 32
    assert chosen("--profile", "--batch-size=32", "--distributed", "false").batch_size == 32
    assert_refused(call("run", "--profile=maybe"), "profile is 'maybe'", "true | false")
    assert_refused(call("run", "--resume", "runs/mine"), "resume is 'runs/mine'", "true | false")


@pytest.mark.parametrize("resume", ["--resume", "--resume=true", "--resume=True"])
def test_flags_are_put_over_the_config_of_the_run_that_is_resumed(finished, resume) -> None:
    words = " ".join(call("run", resume, "--out", finished, "--help").out.split())
    assert "posterior standard deviations [default: 2.0]" in words
    assert "[default: 2.0]" not in call("run", "--resume=false", "--out", finished, "--help").out


def test_a_config_is_the_base_and_flags_win(chosen, finished) -> None:
    config = chosen("--config", finished / "config.json", "--seed", "5")
    assert (config.env, config.agent_settings["alpha"], config.seed, config.batch_size) == ("wheel", 2.0, 5, 8)


def test_another_agent_over_a_config_leaves_the_old_ones_settings_behind(chosen, finished) -> None:
    config = chosen("--config", finished / "config.json", "--agent", "lints")
    assert config.agent_settings == checked(Config(agent="lints")).agent_settings
    assert (config.env, config.batch_size) == ("wheel", 8)


def test_another_environment_over_a_config_leaves_its_ratings_behind(chosen, tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"ratings": "ml-100k", "env_settings": {"rank_k": 5}}))
    config = chosen("--config", path, "--env", "wheel")
    assert config == checked(Config(env="wheel"))


def test_help_shows_the_settings_of_the_chosen_agent_and_environment() -> None:
    shown = call("run", "--agent", "neural-boltzmann", "--env", "wheel", "--help")
    words = " ".join(shown.out.split())
    assert shown.status == 0
    for text in ("agent neural-boltzmann:", "env wheel:", "--user-layers n,n,…", "[default: 64,32]", "[default: 0.1]"):
        assert text in words
    assert "--alpha" not in words
    assert "--rank-k" not in words


def test_help_says_one_point_zero_where_that_is_the_default() -> None:
    words = " ".join(call("run", "--help").out.split())
    assert "posterior standard deviations [default: 1.0]" in words
    assert "to the user part [default: false]" in words


def test_help_shows_the_values_of_a_config_as_defaults(finished) -> None:
    words = " ".join(call("run", "--config", finished / "config.json", "--help").out.split())
    assert "posterior standard deviations [default: 2.0]" in words
    assert "[default: 8]" in words


def test_no_flag_has_two_meanings() -> None:
    for agent, env in product(AGENTS, ENVIRONMENTS):
        names = [p.opts[0] for p in run_options(["--agent", agent, "--env", env], Config())]
        assert len(names) == len(set(names)), (agent, env)


def test_every_setting_has_words() -> None:
    for factory in (*AGENTS.values(), *ENVIRONMENTS.values()):
        for setting in hyperparameters(factory).values():
            assert setting.doc, (factory.__name__, setting.name)
