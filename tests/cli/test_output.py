"""What is printed reaches whatever reads it, or one line says why not; what cannot be used as a place is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import ROOT, SMALL, assert_refused, call, end, start


def to(path: str, *args: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose output goes to a file."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with Path(path).open("wb") as out:
        command = [sys.executable, "-m", "jaxbandit", *map(str, args)]
        return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=env, check=False, timeout=100)


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", b"+-"), ("latin-1", b"\xb1"), ("utf-8", "±".encode())])
def test_a_table_goes_where_there_is_no_unicode(encoding, sign, finished, tmp_path) -> None:
    ended = to(str(tmp_path / "out"), "run", "--resume", "--out", finished, PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert sign in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("args", [("list", "envs"), ("--help",), ("run", "--resume", "--out", "{finished}")])
def test_a_full_disk_behind_the_output_is_said_in_one_line(args, finished) -> None:
    ended = to("/dev/full", *(arg.format(finished=finished) for arg in args))
    assert ended.returncode == 2
    assert ended.stderr == b"jaxbandit: error: cannot read or write the output: No space left on device\n"


@pytest.mark.parametrize("place", ["s3://bucket/x", "az://c/x", "https://host/x", "hdfs://h/x", "file:///tmp/x"])
def test_places_elsewhere_are_refused(place, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ("run", *SMALL, "--out", place),
        ("sweep", *SMALL, "--grid", "alpha=1,2", "--out", place),
        ("export", finished, "--out", place),
        ("compare", finished, "--out", place),
        ("run", "--config", place),
        ("run", "--ratings", place, "--out", "x"),
    ):
        assert_refused(call(*command), place, "gs://BUCKET/PATH")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("platform", ["cuda", "rocm", "no-such"])
def test_a_platform_without_a_device_is_refused(platform, tmp_path) -> None:
    result = end(start("run", *SMALL, "--out", tmp_path / "x", JAX_PLATFORMS=platform))
    assert_refused(result, f"JAX_PLATFORMS is '{platform}'", "no such device", "allowed: cpu")
    assert not (tmp_path / "x").exists()


def test_an_argument_that_is_no_unicode_is_refused(tmp_path) -> None:
    ended = to(str(tmp_path / "out"), "run", *SMALL, "--out", os.fsdecode(b"\xff"))
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"jaxbandit: error: '\\udcff' is no text in UTF-8; allowed: ")


def test_data_may_lie_where_the_name_is_no_unicode_and_results_may_not(tmp_path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    rows = "\n".join(f"{i},{i % 3},{i % 2}" for i in range(20))
    (place / "l.csv").write_text(f"a,b,label\n{rows}\n")
    flags = ("--env", "classification", "--data", "l.csv", *SMALL[2:])
    result = end(start("run", *flags, "--out", tmp_path / "run", cwd=place))
    assert result.status == 0, result
    assert json.loads((tmp_path / "run/config.json").read_bytes())["env_settings"]["data"] == str(place / "l.csv")
    assert_refused(end(start("run", *SMALL, "--out", "run", cwd=place)), "caf\\udce9", "no text in UTF-8")
    assert sorted(path.name for path in place.iterdir()) == ["l.csv"]


@pytest.mark.parametrize("owner", ["parent", "itself"])
def test_a_directory_of_somebody_else_is_refused_in_one_line(owner, finished, tmp_path, monkeypatch) -> None:
    """Whoever runs the tests may read everything, so the system's refusal is put in place of it."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "theirs"))

    (tmp_path / "theirs").mkdir()
    name = {"parent": "exists", "itself": "iterdir"}[owner]
    monkeypatch.setattr(f"etils.epath.gpath.PosixGPath.{name}", refuse)
    assert_refused(call("run", *SMALL, "--out", tmp_path / "theirs"), "theirs", "Permission denied")


def test_json_that_is_nested_deeply_is_refused(tmp_path) -> None:
    for depth in (60, 900, 10**5):
        (tmp_path / "deep.json").write_text('{"agent_settings":' * depth + "{}" + "}" * depth)
        assert_refused(call("run", "--config", tmp_path / "deep.json", "--out", tmp_path / "x"), "nested too deeply")
