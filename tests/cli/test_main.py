import json
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.cli.flags import run_options
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config, checked, read_config
from jaxbandit.vertex.machines import MACHINES
from tests.command_line import ROOT, SMALL, assert_refused, call, shell


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    result = call("run", *SMALL, "--alpha", "2", "--out", out)
    assert result.status == 0, result
    return out


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


@pytest.mark.parametrize(
    ("what", "names"),
    [("agents", AGENTS), ("envs", ENVIRONMENTS), ("data", ("ml-100k", "synth-100k")), ("machines", MACHINES)],
)
def test_lists_name_everything_at_80_columns(what, names, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    shown = call("list", what)
    lines = shown.out.splitlines()
    assert shown.status == 0
    assert all(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) <= 80 for line in lines)
    for name in names:
        assert any(line.split()[:1] == [name] for line in lines), name


def test_a_data_set_is_described(tmp_path) -> None:
    shown = call("data", "describe", "synth-100k", "--plot", tmp_path / "data.png")
    words = " ".join(shown.out.split())
    assert shown.status == 0
    for text in ("users 943", "items 1,750", "scale 1 to 5", "truth known yes", "user features none"):
        assert text in words
    assert (tmp_path / "data.png").stat().st_size > 10_000


def test_no_command_shows_the_commands() -> None:
    shown = call()
    assert shown.status == 2
    assert "list" in shown.err
    assert call("--help").status == call("--version").status == 0


def test_help_does_not_wait_for_jax() -> None:
    code = "import sys\nfrom jaxbandit.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'jax', 'numpy', 'polars', 'rich'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_bad_input_does_not_wait_for_what_only_results_need() -> None:
    code = "import sys\nfrom jaxbandit.cli.main import main\ntry: main(['run', '--alpha', 'x'])\nexcept SystemExit: "
    code += "pass\n"
    code += "assert 'jax' in sys.modules and not {'orbax', 'matplotlib', 'tensorboardX'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def test_a_shell_sees_one_line_and_status_2(tmp_path) -> None:
    began = time.perf_counter()
    assert_refused(shell("run", "--agent", "linucbb", cwd=tmp_path), "unknown agent 'linucbb': did you mean 'linucb'?")
    assert time.perf_counter() - began < 30  # about one second where nothing else runs
    assert not list(tmp_path.iterdir())


def test_a_run_without_out_makes_a_directory_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("run", *SMALL)
    (out,) = (tmp_path / "runs").iterdir()
    assert out.name.startswith("linucb-wheel-")
    assert f"results in runs/{out.name}" in result.out
    assert read_config(str(out / "config.json")).env == "wheel"


def test_a_config_repeats_its_run(finished, tmp_path) -> None:
    assert call("run", "--config", finished / "config.json", "--out", tmp_path / "again").status == 0
    assert (tmp_path / "again/config.json").read_bytes() == (finished / "config.json").read_bytes()
    assert (tmp_path / "again/metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()


def test_the_table_stands_beside_uniform_and_optimal(finished) -> None:
    shown = call("run", "--resume", "--out", finished)
    rows = [line.split()[0] for line in shown.out.splitlines() if line.strip()]
    assert {"linucb", "uniform", "optimal"} <= set(rows)
    assert f"results in {finished}" in shown.out
    assert not shown.err


@pytest.mark.parametrize("harm", ["a file where the directory should be", "programs cut short"])
def test_a_cache_of_programs_that_fails_costs_time_and_nothing_else(harm, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    again = ("run", "--config", finished / "config.json", "--out")
    assert shell(*again, tmp_path / "first").status == 0
    directory = tmp_path / "cache" / "programs"
    programs = [path for path in directory.rglob("*") if path.is_file()]
    assert programs
    if harm.startswith("a file"):
        shutil.rmtree(directory)
        directory.write_text("")
    else:
        for path in programs:
            path.write_bytes(path.read_bytes()[:100])
    result = shell(*again, tmp_path / "run")
    assert result.status == 0, result
    assert all(line.startswith(("building", "compiling", "simulating")) for line in result.err.splitlines()), result.err
    assert (tmp_path / "run/metrics.csv").read_bytes() == (tmp_path / "first/metrics.csv").read_bytes()
