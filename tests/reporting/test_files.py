import json
import os
import secrets

import fsspec
import numpy as np
import polars as pl
import pytest
from etils.epath import backend
from fsspec.implementations.dirfs import DirFileSystem

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes, write_json
from jaxbandit.reporting import read_metrics_csv, series_of, write_metrics_csv


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_json_is_written_strictly_and_nothing_else_is_left(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"mean": 1.5, "stderr": None, "name": "é"})
    assert json.loads((tmp_path / "new" / "a.json").read_text("utf-8")) == {"mean": 1.5, "stderr": None, "name": "é"}
    assert names(tmp_path / "new") == ["a.json"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_json_refuses_what_json_does_not_have_and_keeps_the_old_file(tmp_path, bad):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": bad})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_a_writer_that_fails_midway_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_somebody_who_is_reading_the_old_file_is_not_disturbed(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    with (tmp_path / "a").open("rb") as reader:
        write_bytes(tmp_path / "a", b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_bad_input_that_names_the_path_and_keeps_the_old_file(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0")
    (tmp_path / ".a.0.tmp").symlink_to("/dev/full")
    with pytest.raises(InputError) as caught:
        write_bytes(tmp_path / "a", b"new")
    assert str(caught.value) == f"cannot write '{tmp_path}/a': No space left on device"
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_path_that_cannot_be_written_is_bad_input_of_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a", tmp_path / "folder"):
        with pytest.raises(InputError, match=r"\Acannot write '.*(file/a|folder)': [^\n]+\Z"):
            write_bytes(path, b"x")
    assert names(tmp_path) == ["file", "folder"]


def test_an_object_store_is_written_through_the_same_two_steps(tmp_path, monkeypatch):
    class Bucket(DirFileSystem):  # a local folder that answers to gs://
        def _join(self, path):
            return super()._join(path.removeprefix("gs://"))

    bucket = Bucket(str(tmp_path), fsspec.filesystem("file", auto_mkdir=True))
    monkeypatch.setattr(backend._FileSystemSpecBackend, "fs", lambda self, path: bucket)
    monkeypatch.setattr(os, "fsync", None)  # an object of a store has no file descriptor
    for content in (b"old", b"new"):
        write_bytes("gs://bucket/run/a.json", content)
        assert (tmp_path / "bucket" / "run" / "a.json").read_bytes() == content
    assert names(tmp_path / "bucket" / "run") == ["a.json"]


def test_the_csv_reads_back_as_the_curves(tmp_path, curves):
    write_metrics_csv(tmp_path / "metrics.csv", curves)
    frame = pl.read_csv(tmp_path / "metrics.csv")
    assert frame.columns[:4] == ["interactions", "round", "average_return_mean", "average_return_stderr"]
    assert frame["interactions"].to_list() == [12, 18, 20]
    assert frame["round"].to_list() == [6, 9, 10]
    assert frame["average_return_mean"].to_list() == [2.5, 4, 4.5]
    assert frame["average_return_so_far_mean"].to_list() == pytest.approx([2.5, 3.0, 3.15])
    assert frame["cumulative_regret_mean"].to_list() == [18, 24, 25]
    assert frame["cumulative_regret_stderr"].to_list() == pytest.approx([6, 6, 5])
    assert frame["regret_mean"].to_list() == [1.5, 1, 0.5]
    assert frame["suboptimal_arms_mean"].to_list() == [0.75, 0.5, 0.125]
    assert frame["uniform_mean"].to_list() == [2, 3, 2]
    assert frame["optimal_stderr"].to_list() == pytest.approx([0, 0, 1])
    assert frame["uniform_cumulative_regret_mean"].to_list() == [24, 36, 42]


def test_the_csv_of_one_seed_has_empty_errors(tmp_path, make_curves):
    write_metrics_csv(tmp_path / "metrics.csv", make_curves(lanes=1))
    frame = pl.read_csv(tmp_path / "metrics.csv")
    errors = [name for name in frame.columns if name.endswith("_stderr")]
    assert len(errors) == 9
    assert frame.select(errors).null_count().sum_horizontal().item() == 9 * 3
    assert frame.drop(errors).null_count().sum_horizontal().item() == 0


def test_the_curves_read_back_are_those_that_were_written(tmp_path, make_curves):
    for lanes in (1, 2):
        run = series_of(make_curves(lanes=lanes))
        write_metrics_csv(tmp_path / "metrics.csv", make_curves(lanes=lanes))
        back = read_metrics_csv(tmp_path / "metrics.csv", seeds=lanes)
        assert (back.seeds, back.rounds.tolist(), back.interactions.tolist()) == (lanes, [6, 9, 10], [12, 18, 20])
        for name in run.means:
            np.testing.assert_array_equal(back.means[name], run.means[name])
            np.testing.assert_array_equal(back.stderrs[name], run.stderrs[name])


@pytest.mark.parametrize(
    "content", [None, "", "a,b\n1,2\n", "interactions,round\n1,1\n", "interactions,round,regret_mean\n1,x,2\n"]
)
def test_a_file_that_is_no_metrics_csv_is_bad_input_of_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(InputError, match=r"\A'.*metrics.csv' cannot be read: [^\n]+; allowed: metrics.csv of a run\Z"):
        read_metrics_csv(tmp_path / "metrics.csv")
