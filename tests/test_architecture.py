"""docs/architecture.md says what the code does: its picture, its files, and the way of one value."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from jaxbandit._core import hyperparameters
from jaxbandit.agents import exploration
from tests.command_line import ROOT, call

PAGE = (ROOT / "docs" / "architecture.md").read_text()
MOST_MOVES = 10


def drawing():
    spec = importlib.util.spec_from_file_location("draw_packages", ROOT / "docs" / "draw_packages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_packages_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "packages.svg").read_text() == drawing().draw()


def test_every_package_is_in_the_picture_and_says_what_lives_there() -> None:
    packages = {path.parent.name: path for path in (ROOT / "jaxbandit").glob("*/__init__.py")}
    assert packages.keys() | {"types"} == drawing().PLACES.keys()
    for path in (ROOT / "jaxbandit").rglob("*/__init__.py"):
        assert len(re.findall(r"[.:](?:\s|$)", path.read_text().split('"""')[1])) >= 2, path


def test_every_file_that_the_page_names_is_there() -> None:
    names = set(re.findall(r"`([\w/]+\.(?:py|svg|toml))`", PAGE))
    assert len(names) > 20
    for name in names:
        assert any((root / name).exists() for root in (ROOT, ROOT / "jaxbandit")), name


def files_of_the_stack(directory: Path) -> list[str]:
    """Files below a directory that are at work, the outermost first, each once for calls within it."""
    files, frame = [], sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(directory):
            files.append(str(path.relative_to(directory)))
        frame = frame.f_back
    return [name for name, inner in zip(files[::-1], [None, *files[::-1]], strict=False) if name != inner]


@pytest.fixture
def way(tmp_path, monkeypatch) -> list[str]:
    """Files through which alpha goes from the command line to the score."""
    stacks: dict[str, list[str]] = {}

    def watched(module, name, key, is_alpha):
        original = getattr(module, name)

        def call_original(*args, **options):
            if key not in stacks and is_alpha(*args):
                stacks[key] = [*files_of_the_stack(ROOT / "jaxbandit"), str(file_of(module))]
            return original(*args, **options)

        for user in [m for m in list(sys.modules.values()) if getattr(m, name, None) is original]:
            monkeypatch.setattr(user, name, call_original)

    def file_of(module) -> Path:
        return Path(module.__file__).relative_to(ROOT / "jaxbandit")

    call("run", "--help")  # modules that are imported late
    watched(hyperparameters, "parse", "parsed", lambda setting, value: (setting.name, value) == ("alpha", "0.625"))
    watched(exploration, "upper_bounds", "scored", lambda *args: True)
    flags = ("--env", "wheel", "--batch-size", "2", "--training-loops", "1", "--steps-per-loop", "1", "--seeds", "1")
    result = call("run", *flags, "--alpha", "0.625", "--out", tmp_path / "run")
    assert result.status == 0, result
    return stacks["parsed"] + stacks["scored"][1:]  # both begin at the same place


def test_a_value_goes_from_the_command_line_to_the_score_as_the_page_says(way) -> None:
    told = re.search(r"<!-- way -->\n(.*?)<!-- end -->", PAGE, re.S)[1]
    assert re.findall(r"^\d+\. `([\w/.]+)`", told, re.M) == way
    assert len(way) - 1 <= MOST_MOVES
