"""Small sweeps from the command line, and their tables."""

from pathlib import Path

import polars as pl

from tests.command_line import Result, call

WORLD = ("--env", "wheel", "--batch-size", "8", "--training-loops", "6", "--steps-per-loop", "10", "--seeds", "3")
GRID = ("--agent", "linucb,lints", *WORLD, "--grid", "alpha=0.3,3,30", "add-bias=true,false")
HALVING = (
    *("--agent", "linucb,uniform", *WORLD, "--metric", "cumulative_regret"),
    *("--sample", "alpha=log:0.1:100", "--num-configs", "9", "--halving", "eta=3"),
)


def sweep(*args: object) -> Result:
    result = call("sweep", *args)
    assert result.status == 0, result
    return result


def table(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "results.parquet")
