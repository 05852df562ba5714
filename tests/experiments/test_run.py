import json
import struct
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit.experiments import run
from jaxbandit.experiments.config import Config, checked, read_config
from jaxbandit.experiments.world import Group
from jaxbandit.simulation.chunks import POINTS, point_edges
from tests.command_line import write_ratings

SMALL = Config(env="wheel", agent="linucb", batch_size=8, training_loops=30, steps_per_loop=10, seeds=3)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("experiment") / "run"
    run.run(SMALL, str(out))
    return out


@pytest.mark.parametrize("rounds", [1000, 2000, 10**6])
def test_rows_grow_from_one_round_to_a_hundredth_of_all(rounds) -> None:
    spans = np.diff(point_edges(rounds))
    assert spans[0] == 1
    assert spans.max() <= 1.6 * rounds / POINTS + 1
    assert (point_edges(rounds) <= rounds / 20).sum() >= 20
    assert (spans[1:] >= 0.4 * spans[:-1]).all()  # no row so short beside its neighbour that it is noise


def test_the_directory_holds_what_is_promised(finished) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.json", "summary.json", "metrics.csv", "curves.png", "tensorboard", "checkpoints"}
    assert len(list((finished / "tensorboard").iterdir())) == 1
    png = (finished / "curves.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", png[16:24])) > 800


def test_the_summary_has_the_promised_keys(finished) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["interactions"] == 30 * 10 * 8 * 3
    for name in ("average_return", "regret", "cumulative_regret", "suboptimal_arms"):
        assert set(summary["final"][name]) == {"mean", "stderr"}
        assert summary["final"][name]["stderr"] > 0
    assert summary["baselines"]["uniform"]["mean"] < summary["baselines"]["optimal"]["mean"]
    assert summary["seconds"]["compile"] > 0
    assert summary["seconds"]["run"] > 0
    assert summary["interactions_per_second"] > 0
    assert summary["device"]["kind"]


def test_the_table_has_a_line_for_each_row(finished) -> None:
    table = pl.read_csv(finished / "metrics.csv")
    edges = point_edges(300)
    assert table["round"].to_list() == edges[1:].tolist()
    assert table["interactions"].to_list() == (edges[1:] * 8).tolist()
    assert table.null_count().sum_horizontal().item() == 0


def test_the_config_file_is_the_complete_config(finished) -> None:
    assert read_config(str(finished / "config.json")) == checked(SMALL)
    kept = sealed.read(finished / "config.json", "", always=True)
    assert kept == json.loads(json.dumps(asdict(checked(SMALL))))


def test_final_numbers_are_those_of_the_last_tenth_of_the_rows(finished) -> None:
    table, summary = pl.read_csv(finished / "metrics.csv"), json.loads((finished / "summary.json").read_text())
    spans = np.diff(point_edges(300))
    late = table["round"].to_numpy() > 270
    regret = table["regret_mean"].to_numpy()
    assert summary["final"]["regret"]["mean"] == pytest.approx(np.average(regret[late], weights=spans[late]))
    assert summary["final"]["cumulative_regret"]["mean"] == pytest.approx((regret * spans).sum() * 8)


def test_the_seed_decides_the_numbers(finished, tmp_path) -> None:
    from dataclasses import replace

    again = run.run(SMALL, str(tmp_path / "again"), checkpoint_every=7)
    other = run.run(replace(SMALL, seed=1), str(tmp_path / "other"))
    final = json.loads((finished / "summary.json").read_text())["final"]
    assert again["final"] == final
    assert other["final"] != final


def test_one_seed_has_no_standard_error(tmp_path) -> None:
    summary = run.run(Config(env="wheel", agent="uniform", seeds=1, training_loops=1), str(tmp_path / "run"))
    assert summary["final"]["regret"]["stderr"] is None


def test_ratings_of_ones_own_become_a_world(tmp_path) -> None:
    ratings = write_ratings(tmp_path / "ratings.csv", users=30, items=12)
    config = Config(
        ratings=str(ratings), training_loops=3, seeds=2, batch_size=4, env_settings={"rank_k": 2, "num_actions": 5}
    )
    summary = run.run(config, str(tmp_path / "run"))
    assert summary["world"]["factorizer"] == "als"
    assert summary["world"]["columns"] == 2 + 2  # and two of biases
    assert summary["final"]["regret"]["mean"] >= 0


def test_settings_are_completed_with_defaults_and_typed() -> None:
    config = checked(Config(agent_settings={"alpha": "2"}))
    assert config.agent_settings["alpha"] == 2.0
    assert config.agent_settings["features"] == "concat"
    assert checked(config) == config


def test_what_tracing_refuses_is_refused_before_anything_is_compiled(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("jax.stages.Lowered.compile", lambda *args, **options: pytest.fail("compiled"))
    config = Config(env="mf", batch_size=10_000, env_settings={"rank_k": 5, "factorizer": "residual_svd"})
    with pytest.raises(InputError, match=r"batch_size is 10000; .* allowed: 1 to 943"):
        run.run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_directory_that_another_run_takes_meanwhile_is_left_to_it(tmp_path, monkeypatch) -> None:
    out, build = tmp_path / "run", run.build_groups

    def overtaken(configs: list[Config]) -> list[Group]:
        monkeypatch.setattr(run, "build_groups", build)
        run.run(replace(SMALL, seed=1), str(out))
        return build(configs)

    monkeypatch.setattr(run, "build_groups", overtaken)
    with pytest.raises(InputError, match=r"belongs to another configuration \(seed"):
        run.run(SMALL, str(out))
    assert read_config(str(out / "config.json")).seed == 1
    assert (out / "summary.json").exists()
