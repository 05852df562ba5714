"""Promise 7 where results lie: a directory that is not the one for this command is refused and left as it is."""

import shutil

import pytest

from tests.command_line import SMALL, DiskUsage, assert_refused, call, hashes, shell


def test_a_directory_of_another_configuration_is_refused_and_untouched(finished) -> None:
    before = hashes(finished)
    assert_refused(call("run", *SMALL, "--alpha", "3", "--out", finished), "another configuration", "alpha 2.0 and 3.0")
    assert_refused(call("run", "--resume", "--seed", "9", "--out", finished), "another configuration", "seed 0 and 9")
    assert_refused(call("run", *SMALL, "--alpha", "2", "--out", finished), "holds this run already", "--resume")
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


@pytest.mark.parametrize("flags", ["--gamma 2", "--ratings {faulty}", "--out {finished}"])
def test_a_shell_sees_status_2_one_line_and_no_traceback(finished, tmp_path, flags) -> None:
    faulty = tmp_path / "faulty.csv"
    faulty.write_text("user,item,rating\n1,1,3\n2,2,nan\n")
    result = shell("run", *flags.format(faulty=faulty, finished=finished).split(), cwd=tmp_path)
    assert_refused(result, "allowed")
    assert [path.name for path in tmp_path.iterdir()] == ["faulty.csv"]


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
