"""A finished run, a small file of ratings, and command lines that are refused before a program is compiled."""

from pathlib import Path

import pytest

from tests.command_line import SMALL, Result, assert_refused, call, write_ratings


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    result = call("run", *SMALL, "--alpha", "2", "--out", out)
    assert result.status == 0, result
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
