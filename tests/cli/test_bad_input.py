"""Promise 7: bad input is one line and status 2, before anything is paid for, and it leaves no trace."""

import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from tests.command_line import SMALL, Result, assert_refused, call, end, hashes, shell, start, write_ratings

DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bad") / "run"
    assert call("run", *SMALL, "--out", out).status == 0
    return out


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Call `jaxbandit run` or another command, see it refused with the words, and see that it has left nothing."""

    def no_program(*args: object, **kwargs: object) -> None:
        raise AssertionError("a program was compiled")

    def refuse(*args: object, words: tuple[str, ...], compiled: bool = False, command: str = "run") -> Result:
        if not compiled:
            monkeypatch.setattr("jaxbandit.simulation.lanes.compile_program", no_program)
        out = tmp_path / "runs" / "bad"
        result = call(command, "--seeds", "2", "--out", out, *args)
        assert_refused(result, *words)
        assert not out.exists()
        return result

    return refuse


@pytest.fixture
def ratings(tmp_path) -> Path:
    return write_ratings(tmp_path / "ratings.csv")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--agent linucbb", ("unknown agent 'linucbb'", "did you mean 'linucb'?", "lints")),
        ("--env mf-perarm", ("unknown env 'mf-perarm'", "did you mean 'mf-per-arm'?", "wheel")),
        ("--ratings ml-100", ("unknown data set 'ml-100'", "did you mean 'ml-100k'?")),
        ("--alhpa 3", ("'--alhpa'", "did you mean '--alpha'?", "--tikhonov-weight")),
        ("--agent neural-boltzmann --alpha 3", ("'--alpha'", "agent neural-boltzmann has", "--temperature")),
        ("--env wheel --rank-k 3", ("'--rank-k'", "env wheel has", "--delta")),
        ("--batchsize 3", ("'--batchsize'", "did you mean '--batch-size'?")),
        ("--tikhonov-weight 0", ("tikhonov_weight is '0'", "a number > 0")),
        ("--tikhonov-weight=-1", ("tikhonov_weight is '-1'", "a number > 0")),
        ("--gamma 0", ("gamma is '0'", "> 0 and <= 1")),
        ("--gamma 1.5", ("gamma is '1.5'", "> 0 and <= 1")),
        ("--agent greedy --epsilon 1.1", ("epsilon is '1.1'", ">= 0 and <= 1")),
        ("--agent greedy --epsilon -0.1", ("epsilon is '-0.1'", ">= 0 and <= 1")),
        ("--alpha nan", ("alpha is 'nan'", "a number")),
        ("--alpha inf", ("alpha is 'inf'", "a number")),
        ("--alpha wide", ("alpha is 'wide'", "a number")),
        ("--alpha", ("--alpha", "requires an argument")),
        ("--add-bias maybe", ("add_bias is 'maybe'", "true | false")),
        ("--features cross", ("features is 'cross'", "concat | hadamard | outer")),
        ("--agent neural-boltzmann --user-layers 8,x", ("user_layers is '8,x'", "64,32")),
        ("--batch-size 0", ("batch_size is 0", ">= 1")),
        ("--batch-size 1.5", ("batch_size is '1.5'", "a whole number")),
        ("--seeds 0", ("seeds is 0", ">= 1")),
        ("--seed -1", ("seed is -1", ">= 0")),
        ("--seed 1e12", ("seed is '1e12'", "<= 2147483647")),
        ("--training-loops 100000 --steps-per-loop 100000", ("training_loops x steps_per_loop", "at most 2147483647")),
        ("--env piecewise --period 1e12", ("period is '1e12'", "a whole number >= 1 and <= 2147483647")),
        ("--env linear --num-actions 1e30", ("num_actions is '1e30'", ">= 2 and <= 2147483647")),
        ("--agent sliding-window-linucb --window 2147483648", ("window is '2147483648'", ">= 1 and <= 2147483647")),
        ("--agent neural-epsilon-greedy --train-every 1e12", ("train_every is '1e12'", "<= 2147483647")),
        ("--agent neural-boltzmann --user-layers 8,1e12", ("user_layers is '8,1e12'", "each <= 2147483647")),
        ("--checkpoint-every 1e12", ("checkpoint_every is '1e12'", "<= 2147483647")),
        ("--log-interactions --propensity-samples 1e30", ("propensity_samples is '1e30'", ">= 1 and <= 100000")),
        ("--log-interactions --propensity-samples 100001", ("propensity_samples is '100001'", "<= 100000")),
        ("--checkpoint-every 0", ("checkpoint_every is 0", "a whole number > 0")),
        ("--env wheel --ratings ml-100k", ("ratings is 'ml-100k'", "wheel takes no ratings", "mf | mf-per-arm")),
        ("--num-actions 1", ("num_actions is '1'", ">= 2")),
        ("--factorizer pca", ("factorizer is 'pca'", "als | residual_svd | svd | truth")),
        ("extra", ("extra",)),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_before_any_work(refused, monkeypatch, flags, words) -> None:
    monkeypatch.setattr("jaxbandit.data.factorization.als.als", None)
    result = refused(*flags.split(), words=words)
    assert "compiling" not in result.err


def test_an_evaluation_takes_as_many_draws_as_a_run(tmp_path) -> None:
    result = call("evaluate", tmp_path, "--agent", "lints", "--propensity-samples", "1e30")
    assert_refused(result, "propensity_samples is '1e30'", ">= 1 and <= 100000")


def test_the_rank_may_not_be_above_the_datas(refused, ratings) -> None:
    refused("--ratings", ratings, "--rank-k", "9", "--num-actions", "4", words=("rank_k", "9", "8", "12 users"))


@pytest.mark.parametrize("env", ["mf", "mf-per-arm"])
def test_no_more_arms_than_items(refused, ratings, env) -> None:
    flags = ("--ratings", ratings, "--env", env, "--rank-k", "3", "--num-actions", "9")
    refused(*flags, words=("num_actions is 9", "8 items", "2 to 8"))


def test_a_batch_of_distinct_users_is_no_larger_than_their_number(refused, ratings) -> None:
    flags = ("--env", "mf", "--ratings", ratings, "--rank-k", "3", "--num-actions", "4", "--batch-size", "13")
    refused(*flags, words=("batch_size is 13", "there are 12", "1 to 12"), compiled=True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--env linear --agent exp3", ("reward_low is auto", "have no such bound", "a number")),
        ("--env cascade --agent cascade-linucb --slate-size 99", ("slate_size is 99, but 10 arms", "2 to 10")),
        (
            "--env bernoulli --agent exp3-mixture --agents linucb+exp3-mixture",
            ("agents is 'linucb+exp3-mixture'", "no mixture themselves"),
        ),
        ("--env wheel --agent neural-boltzmann --buffer-size 1e9", ("buffer_size is 1000000000", "at most", "(1 GiB)")),
        ("--env wheel --training-loops 2 --steps-per-loop 3 --delay 6", ("delay is 6 of 6 rounds", "0 to 5")),
        (
            "--env linear --training-loops 1000000 --steps-per-loop 100 --batch-size 10000 --delay 100000",
            ("delay is 100000", "GiB for each lane", "at most", "(1 GiB)"),
        ),
        ("--env linear --agent sliding-window-linucb --window 1e8", ("window is 100000000", "at most", "(1 GiB)")),
        (
            "--env cascade --agent cascade-linucb --log-interactions",
            ("log_interactions is set", "env cascade wants slates", "an env that wants one arm"),
        ),
    ],
)
def test_what_a_world_or_its_memory_does_not_allow_is_refused_before_compiling(refused, flags, words) -> None:
    result = refused(*flags.split(), words=words)
    assert "compiling" not in result.err


def test_settings_that_do_not_go_together_are_refused_before_compiling(refused) -> None:
    flags = ("--env", "linear-per-arm", "--features", "hadamard")
    refused(*flags, words=("features is 'hadamard'", "4 and 5", "concat | outer"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("empty file",)),
        ("user,item,rating\n", ("no ratings",)),
        ("user,item,stars_given\n1,1,3\n2,2,4\n", ("no rating column",)),
        ("user,item,rating\n1,1,3\n2,2,nan\n", ("row 3", "rating", "nan")),
        ("user,item,rating\n1,1,3\n2,2,\n", ("row 3", "rating")),
        ("user,item,rating\n1,1,3\n2,2,good\n", ("row 3", "rating", "good")),
        ("user,item,rating\n1,1,3\n2,2,4\n1,1,5\n", ("row 4", "user = 1", "item = 1")),
        ("user,item,rating\n1,1,3\n1,2,4\n", ("one user only",)),
    ],
)
def test_a_ratings_file_with_a_fault_is_refused(refused, tmp_path, content, words) -> None:
    path = tmp_path / "faulty.csv"
    path.write_text(content)
    refused("--ratings", path, words=("faulty.csv", "allowed", *words))


def test_a_column_that_is_not_there_is_refused_with_the_nearest(refused, ratings) -> None:
    refused("--ratings", ratings, "--rating-column", "ratings", words=("no column 'ratings'", "did you mean 'rating'?"))


def test_a_truncated_zip_is_refused(refused, tmp_path, ratings) -> None:
    whole, half = tmp_path / "whole.zip", tmp_path / "half.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.write(ratings, "ratings.csv")
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused("--ratings", half, words=("half.zip", "truncated or corrupt zip"))


def test_a_path_without_a_file_is_refused(refused) -> None:
    refused("--ratings", "./nothing.csv", words=("./nothing.csv", "no such file"))


def test_a_directory_of_another_configuration_is_refused_and_untouched(finished) -> None:
    before = hashes(finished)
    assert_refused(call("run", *SMALL, "--alpha", "3", "--out", finished), "another configuration", "alpha 1.0 and 3.0")
    assert_refused(call("run", "--resume", "--seed", "9", "--out", finished), "another configuration", "seed 0 and 9")
    assert_refused(call("run", *SMALL, "--out", finished), "holds this run already", "--resume")
    assert hashes(finished) == before


def test_the_directory_is_looked_at_before_ratings_are(finished, monkeypatch) -> None:
    monkeypatch.setattr("jaxbandit.experiments.run.build_groups", None)
    assert_refused(call("run", "--out", finished), "another configuration", "env wheel and mf-per-arm")


def test_a_directory_with_other_files_is_refused_and_untouched(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    before = hashes(tmp_path)
    assert_refused(call("run", *SMALL, "--out", tmp_path), "holds other files", "new or empty directory")
    assert hashes(tmp_path) == before


def test_a_file_is_no_directory(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    assert_refused(call("run", *SMALL, "--out", path), "a file", "a directory")
    assert path.read_text() == "kept"


def test_resuming_nothing_is_refused(refused) -> None:
    refused("--resume", words=("resume", "holds no run"))
    assert_refused(call("run", "--resume"), "resume", "--out is missing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("cannot be read",)),
        ("[]", ("no JSON object",)),
        ('{"agnet": "lints"}', ("agnet", "did you mean 'agent'?")),
        ('{"agent": 5}', ("agent is 5", "text")),
        ('{"batch_size": "many"}', ("batch_size is 'many'", "a whole number")),
        ('{"batch_size": null}', ("batch_size is None", "a whole number")),
        ('{"agent_settings": [1]}', ("agent_settings is [1]", "an object")),
        ('{"agent_settings": {"alhpa": 1}}', ("agent linucb has no setting 'alhpa'", "did you mean 'alpha'?")),
        ('{"env_settings": {"rank_k": {}}}', ("rank_k is {}", "a whole number")),
        ('{"ratings": 7}', ("ratings is 7", "text")),
    ],
)
def test_a_config_with_a_fault_is_refused(refused, tmp_path, content, words) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    refused("--config", path, words=words)


def test_a_config_that_is_not_there_is_refused(refused, tmp_path) -> None:
    refused("--config", tmp_path / "no.json", words=("no.json", "cannot be read"))


def test_a_full_disk_leaves_nothing_before_the_first_checkpoint(refused, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: DiskUsage(100, 100, 0))
    refused(*SMALL, words=("cannot write the checkpoint", "No space left on device"), compiled=True)


def test_a_full_disk_keeps_what_can_be_resumed(tmp_path, monkeypatch) -> None:
    free = iter([10**9])
    monkeypatch.setattr("shutil.disk_usage", lambda path: DiskUsage(100, 100, next(free, 0)))
    result = call("run", *SMALL, "--out", tmp_path / "run")
    assert_refused(result, "cannot write the checkpoint", "No space left on device")
    monkeypatch.undo()
    assert len([path for path in (tmp_path / "run/checkpoints").iterdir() if path.is_dir()]) == 1
    assert call("run", "--resume", "--out", tmp_path / "run").status == 0


def test_a_directory_that_cannot_be_made_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(call("run", *SMALL, "--out", tmp_path / "file" / "run"), "cannot write", "Not a directory")


def test_a_checkpoint_cut_short_is_refused_and_untouched(finished, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    newest = max(path for path in (run / "checkpoints").iterdir() if path.is_dir())
    for path in [p for p in newest.rglob("*") if p.is_file()]:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        before = hashes(run)
        assert_refused(call("run", "--resume", "--out", run), "damaged or incomplete", newest.name, "delete")
        assert hashes(run) == before
        path.write_bytes(whole)
    shutil.rmtree(newest)
    assert_refused(call("run", "--resume", "--out", run), "damaged or incomplete", newest.name, "delete")


def test_a_checkpoint_of_other_rows_is_refused(finished, tmp_path, monkeypatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    monkeypatch.setattr("jaxbandit.simulation.chunks.POINTS", 10)
    assert_refused(call("run", "--resume", "--out", run), "checkpoint", "belongs to another program")


def test_unknown_things_to_list_fetch_and_describe_are_refused(tmp_path) -> None:
    assert_refused(call("list", "agent"), "unknown list 'agent'", "did you mean 'agents'?", "envs")
    assert_refused(call("list"), "agents|envs|data")
    assert_refused(call("lst"), "lst")
    assert_refused(call("data", "fetch", "ml-100"), "ml-100", "did you mean 'ml-100k'?")
    assert_refused(call("data", "describe", "synth"), "unknown data set 'synth'", "did you mean")
    assert_refused(call("data", "describe", tmp_path / "no.csv"), "no.csv", "no such file")


@pytest.mark.parametrize("flags", ["--gamma 2", "--ratings {faulty}", "--out {finished}"])
def test_a_shell_sees_status_2_one_line_and_no_traceback(finished, tmp_path, flags) -> None:
    faulty = tmp_path / "faulty.csv"
    faulty.write_text("user,item,rating\n1,1,3\n2,2,nan\n")
    result = shell("run", *flags.format(faulty=faulty, finished=finished).split(), cwd=tmp_path)
    assert_refused(result, "allowed")
    assert [path.name for path in tmp_path.iterdir()] == ["faulty.csv"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", ("there is one configuration", "--grid, --sample or several agents")),
        ("--grid alpha=1", ("there is one configuration",)),
        ("--grid alhpa=1,2", ("nothing to sweep is called 'alhpa'", "did you mean 'alpha'?")),
        ("--grid alpha", ("grid is 'alpha'", "NAME=VALUES")),
        ("--grid alpha=", ("grid is 'alpha='", "NAME=VALUES")),
        ("--grid =1,2", ("grid is '=1,2'", "NAME=VALUES")),
        ("--grid", ("--grid", "requires an argument")),
        ("--grid alpha=1,2 alpha=3,4", ("grid has alpha twice",)),
        ("--grid add-bias=true,false add_bias=true,false", ("twice",)),
        ("--grid alpha=1,2 --alpha 3", ("alpha is given a value and swept",)),
        ("--grid alpha=1,2 --sample alpha=log:1:2 --num-configs 4", ("alpha is in grid and in sample",)),
        ("--grid alpha=1,x", ("alpha is 'x'", "a number >= 0")),
        ("--grid batch-size=0,8", ("batch_size is '0'", ">= 1")),
        ("--grid seed=1,2", ("nothing to sweep is called 'seed'",)),
        ("--grid alpha=log:1:2", ("alpha is 'log:1:2'", "log:LOW:HIGH:COUNT")),
        ("--grid alpha=log:1:2:100000 gamma=linear:0.1:1:100000", ("10,000,000,000 configurations", "1 to 100,000")),
        ("--sample alpha=log:1:2", ("sample and num-configs go together",)),
        ("--grid alpha=1,2 --num-configs 3", ("sample and num-configs go together",)),
        ("--sample alpha=log:0:2 --num-configs 3", ("alpha is 'log:0:2'", "LOW < HIGH, both > 0")),
        ("--sample alpha=log:1:2 --num-configs 0", ("num_configs is 0", "1 to 100,000")),
        ("--sample alpha=log:1:2 --num-configs many", ("num_configs is 'many'", "a whole number")),
        ("--sample alpha=log:1:2 --num-configs 3 --sampler halton", ("sampler is 'halton'", "sobol | random")),
        ("--sample alpha=log:1:2 --num-configs 3 --seed -1", ("seed is -1", ">= 0")),
        ("--grid alpha=1,2 --metric speed", ("metric is 'speed'", "cumulative_regret")),
        ("--grid alpha=1,2 --halving eta=1", ("halving is '1'", "a whole number >= 2")),
        ("--grid alpha=1,2 --halving eta=x", ("halving is 'x'", "a whole number >= 2")),
        ("--grid alpha=1,2 --halving 3", ("eta is 3 and there are 2 configurations",)),
        ("--grid alpha=1,2 --max-lanes 0", ("max_lanes is 0", "a whole number > 0")),
        ("--grid alpha=1,2 --checkpoint-every 0", ("checkpoint_every is 0", "a whole number > 0")),
        ("--agent linucb,lintss", ("unknown agent 'lintss'", "did you mean 'lints'?")),
        ("--agent linucb, --grid alpha=1,2", ("unknown agent ''",)),
        ("--agent linucb,lints --temperature 1", ("'--temperature'", "agent lints has")),
        ("--agent linucb,lints --alhpa 1", ("'--alhpa'", "did you mean '--alpha'?")),
        ("--grids alpha=1,2", ("'--grids'", "did you mean '--grid'?")),
        ("--grid alpha=1,2 extra", ("extra",)),
        ("--grid alpha=1,2 --resume", ("resume", "holds no run")),
        ("--env linear-per-arm --grid features=concat,hadamard", ("features is 'hadamard'", "concat | outer")),
        (
            "--training-loops 9 --steps-per-loop 5 --delay 15 --grid alpha=log:0.01:100:9 --halving eta=3",
            ("delay is 15", "first rung of the halving has 15 of 45 rounds", "0 to 14"),
        ),
        (
            "--training-loops 9 --steps-per-loop 5 --grid alpha=1,2 delay=0,40 --halving eta=3",
            ("delay is 40", "first rung of the halving has 15 of 45 rounds", "0 to 14"),
        ),
        ("--env linear --grid delay=0,200000 --training-loops 100000", ("delay is 200000", "(1 GiB)")),
    ],
)
def test_a_sweep_with_a_fault_is_refused_before_any_work(refused, flags, words) -> None:
    world = () if "--env" in flags else ("--env", "wheel")
    result = refused(*world, *flags.split(), words=words, command="sweep")
    assert "compiling" not in result.err


def test_a_sweep_one_of_whose_configurations_does_not_fit_is_refused_before_any_round(refused, ratings) -> None:
    flags = ("--env", "mf", "--ratings", ratings, "--rank-k", "3", "--num-actions", "4", "--grid", "batch-size=4,13")
    result = refused(*flags, words=("batch_size is 13", "there are 12"), compiled=True, command="sweep")
    assert "simulating" not in result.err


def test_several_agents_are_for_sweeps(refused) -> None:
    refused("--agent", "linucb,lints", words=("unknown agent 'linucb,lints'",))


@pytest.mark.parametrize("known", [{}, {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", "JAX_PROCESS_ID": "0"}], ids=str)
def test_processes_that_are_nowhere_are_refused(tmp_path, known) -> None:
    result = end(start("sweep", "--grid", "alpha=1,2", "--distributed", cwd=tmp_path, **known))
    assert_refused(result, "distributed is set", "JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES JAX_PROCESS_ID")
    assert not list(tmp_path.iterdir())


def test_a_run_is_no_sweep_to_go_on_with(finished, tmp_path) -> None:
    before = hashes(finished)
    assert_refused(call("sweep", "--resume"), "resume", "--out is missing")
    assert_refused(call("sweep", "--resume", "--out", tmp_path / "no"), "resume", "holds no sweep")
    assert_refused(call("sweep", "--resume", "--out", finished), "resume", "holds no sweep")
    grid = ("sweep", *SMALL, "--grid", "alpha=1,2", "--out", finished)
    assert_refused(call(*grid), "another configuration", "a sweep and a single run")
    assert_refused(call(*grid, "--resume"), "another configuration", "a sweep and a single run")
    assert hashes(finished) == before


def test_what_cannot_be_compared_is_refused(finished, tmp_path) -> None:
    out = tmp_path / "comparison"
    assert_refused(call("compare", "--out", out), "DIR...")
    assert_refused(call("compare", finished, tmp_path / "no", "--out", out), "does not exist", "finished run or sweep")
    assert_refused(call("compare", tmp_path, "--out", out), "holds no run", "finished run or sweep")
    assert_refused(call("compare", finished, "--outt", out), "--outt")
    assert not out.exists()
