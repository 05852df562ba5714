"""Promise 7: bad input is one line and status 2, before anything is paid for, and it leaves no trace."""

import zipfile

import pytest

from tests.command_line import assert_refused, call


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
        ("--env linear --seeds 2147483647", ("seeds is 2147483647", "11,040.0 GiB", "at most", "seeds")),
        ("--env linear --num-actions 2147483647", ("num_actions 2147483647", "1,024.0 GiB", "this machine has")),
        ("--env linear --context-dim 1000000", ("1000000 features of users", "18,626.5 GiB", "a device has")),
        ("--env linear-per-arm --arm-dim 1000000", ("1000000 of arms", "GiB", "a device has")),
        ("--env wheel --agent neural-boltzmann --user-layers 1e6,1e6", ("neural-boltzmann", "GiB", "smaller layers")),
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


def test_unknown_things_to_list_fetch_and_describe_are_refused(tmp_path) -> None:
    assert_refused(call("list", "agent"), "unknown list 'agent'", "did you mean 'agents'?", "envs")
    assert_refused(call("list"), "agents|envs|data")
    assert_refused(call("lst"), "lst")
    assert_refused(call("data", "fetch", "ml-100"), "ml-100", "did you mean 'ml-100k'?")
    assert_refused(call("data", "describe", "synth"), "unknown data set 'synth'", "did you mean")
    assert_refused(call("data", "describe", tmp_path / "no.csv"), "no.csv", "no such file")
