"""Promise 7 for sweeps: a fault in one of their flags or configurations is one line, before any work."""

import pytest

from tests.command_line import assert_refused, end, start


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
        ("--grid alpha=log:0.1:1:1000 --seeds 10000000", ("10,000,000,000 lanes", "51,409.0 GiB", "at most")),
        ("--env linear --grid context-dim=5,1000000", ("1000000 features of users", "18,626.5 GiB", "a device has")),
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
