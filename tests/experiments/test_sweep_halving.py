"""Sweeps with successive halving: who stays in, on which seeds, and at no more compilation."""

import jax
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.experiments.sweeps import HALVING, sweep, table


def test_later_rungs_compile_nothing(halved) -> None:
    _, counts = halved
    assert len(counts) == 3
    assert counts[0] == counts[1] == counts[2]


def test_each_rung_keeps_the_best_and_gives_their_lanes_to_more_seeds(halved) -> None:
    out, _ = halved
    decisions = pl.read_csv(out / "halving.csv")
    stages = decisions.partition_by("rung_number", maintain_order=True)
    assert [stage.height for stage in stages] == [10, 4, 2]
    alive = set(range(10))
    for stage, rounds in zip(stages, (7, 20, 60), strict=True):
        assert set(stage["configuration"]) == alive
        assert stage["interactions"].unique().to_list() == [8 * rounds]
        best = stage.sort("cumulative_regret", maintain_order=True)["configuration"].to_list()
        kept = stage.filter("kept")["configuration"].to_list()
        assert kept == best[: len(kept)]
        alive = set(kept)
    assert [stage["kept"].sum() for stage in stages] == [4, 2, 0]
    sizes = [stage.filter(pl.col("agent") == "linucb")["seeds"] for stage in stages]
    assert all(size.n_unique() == 1 for size in sizes)
    assert [size[0] for size in sizes] == sorted({size[0] for size in sizes})  # they grow
    assert all(size.sum() <= 3 * 10 for size in sizes)  # a lane of the first stage's rows of two fills them up


def test_the_table_of_a_halving_has_the_last_word_on_each_configuration(halved) -> None:
    out, _ = halved
    decisions, frame = pl.read_csv(out / "halving.csv"), table(out)
    last = decisions.group_by("configuration").agg(pl.col("rung_number", "seeds", "cumulative_regret").last())
    both = frame.join(last, on="configuration", suffix="_decision", maintain_order="left")
    assert both.height == frame.height == 10
    assert both["rung"].to_list() == both["rung_number"].to_list() == sorted(both["rung"], reverse=True)
    assert both["seeds"].to_list() == both["seeds_decision"].to_list()
    np.testing.assert_allclose(both["cumulative_regret"], both["cumulative_regret_decision"], rtol=1e-12)
    assert set(frame.head(2)["configuration"]) == set(decisions.filter(pl.col("rung_number") == 2)["configuration"])


@pytest.mark.parametrize(("devices", "limit"), [(1, None), (8, 9)])
def test_decisions_do_not_depend_on_devices_or_tiles(halved, devices, limit, tmp_path, monkeypatch) -> None:
    chosen = jax.devices()[:devices]
    monkeypatch.setattr("jax.devices", lambda: chosen)
    limits = () if limit is None else ("--max-lanes", limit)
    sweep(*HALVING, *limits, "--out", tmp_path / "other")
    one, other = (pl.read_csv(out / "halving.csv") for out in (halved[0], tmp_path / "other"))
    assert_frame_equal(one, other, rel_tol=1e-5)
