"""Output directories, logs and policies that were damaged: what a later command says of them is right, or one line."""

import atexit
import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import jaxbandit
from jaxbandit._core.errors import InputError
from tests.command_line import Result, call, write_ratings
from tests.fuzz.budget import fuzzed

WORLD = ("--rank-k", "2", "--num-actions", "4", "--batch-size", "8", "--training-loops", "3", "--steps-per-loop", "5")
SWEEP = ("--env", "wheel", *WORLD[4:], "--seeds", "2", "--grid", "alpha=0.1,1", "add-bias=true,false")
AWAY = {"curves.png", "sweep.png", "results.csv", "best.json", "halving.csv"}  # that no command reads, but by --config
VALUES = st.sampled_from([None, True, -1, 0, 10**30, 1.5, "x", "", [], {}, [[1]], {"a": {}}])


class Place:
    """Finished things in a directory of their own, and what commands say of them while nothing is damaged."""

    def __init__(self) -> None:
        root = self.root = Path(tempfile.mkdtemp(prefix="jaxbandit-fuzz-"))
        ratings = ("--ratings", write_ratings(root / "r.csv"))
        logged = ("run", *ratings, "--agent", "uniform", *WORLD, "--seeds", "2", "--log-interactions")
        assert call(*logged, "--out", root / "logged").status == 0
        assert call("run", *ratings, *WORLD, "--seeds", "1", "--seed", "5", "--out", root / "run").status == 0
        assert call("sweep", *SWEEP, "--out", root / "sweep").status == 0
        assert call("export", root / "run").status == 0
        self.policy = (root / "run" / "policy").rename(root / "policy")

    def copy(self, to: Path) -> None:
        for name in ("logged", "run", "sweep", "policy"):
            shutil.copytree(self.root / name, to / name)


@cache
def place() -> Place:
    made = Place()
    atexit.register(shutil.rmtree, made.root, True)
    return made


def act(directory: Path) -> Result:
    """Act with a policy, as a command would."""
    err = io.StringIO()
    try:
        with contextlib.redirect_stderr(err):
            policy = jaxbandit.load_policy(directory / "policy")
            shape = (3, policy.spec.user_dim)
            actions = policy.act(policy.context(np.ones(shape), arm_id=[[0, 1, 2, 3]] * 3))
    except InputError as error:
        return Result(2, "", f"jaxbandit: error: {error}\n")
    return Result(0, str(actions.tolist()), err.getvalue())


COMMANDS: dict[str, Callable[[Path], Result]] = {
    "act": act,
    "compare": lambda d: call("compare", d / "run", d / "sweep", "--out", d / "comparison"),
    "evaluate": lambda d: call("evaluate", d / "logged", "--agent", "greedy", "--out", d / "e.json"),
    "judge": lambda d: call("evaluate", d / "logged", "--policy-from", d / "run", "--out", d / "e.json"),
    "export": lambda d: call("export", d / "run", "--out", d / "exported"),
    "run": lambda d: call("run", "--resume", "--out", d / "run"),
    "sweep": lambda d: call("sweep", "--resume", "--out", d / "sweep"),
}
READ = {
    "act": ["policy"], "compare": ["run", "sweep"], "evaluate": ["logged"], "judge": ["logged", "run"],
    "export": ["run"], "run": ["run"], "sweep": ["sweep"],
}  # fmt: skip


def said(command: str, directory: Path) -> Result:
    """What a command says, without directories and without what it is doing."""
    result = COMMANDS[command](directory)
    out = result.out.replace(str(directory), "DIR")
    lines = [
        x
        for x in result.err.splitlines(keepends=True)
        if not x.startswith(("building", "exporting", "evaluating", "fitting"))
    ]
    return Result(result.status, "\n".join(line.rstrip() for line in out.splitlines()), "".join(lines))


@cache
def right(command: str) -> Result:
    with tempfile.TemporaryDirectory() as directory:
        place().copy(Path(directory))
        result = said(command, Path(directory))
    assert result.status == 0, result
    return result


def files(root: Path, names: list[str]) -> list[Path]:
    found = [path for name in names for path in sorted((root / name).rglob("*")) if path.is_file()]
    return [path for path in found if path.name not in AWAY and "tensorboard" not in path.parts]


def check(command: str, directory: Path) -> None:
    """See that a command says what is right, or refuses in one line."""
    result = said(command, directory)
    assert "Traceback" not in result.err
    if result.status == 0:
        squeezed = [" ".join(one.out.split()).replace("─", "") for one in (result, right(command))]
        assert squeezed[0] == squeezed[1]
        return
    assert result.status == 2, result
    assert not result.out
    errors = [line for line in result.err.splitlines() if line.startswith("jaxbandit: error: ")]
    others = [
        line for line in result.err.splitlines() if not line.startswith(("jaxbandit: error: ", "jaxbandit: warning: "))
    ]
    assert (len(errors), others) == (1, []), result.err


@pytest.mark.slow  # most of it is compiling what is not damaged
@fuzzed(
    25,
    command=st.sampled_from(sorted(COMMANDS)),
    which=st.integers(0, 10**6),
    where=st.floats(0, 1, exclude_max=True),
    how=st.sampled_from(["bit", "bit", "cut", "empty", "gone", "noise", "swap", "grow"]),
    bit=st.integers(0, 7),
)
def test_a_damaged_file_changes_nothing_or_is_refused(
    command: str, which: int, where: float, how: str, bit: int
) -> None:
    right(command)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        place().copy(root)
        found = files(root, READ[command])
        path, other = found[which % len(found)], found[(which // len(found)) % len(found)]
        content = bytearray(path.read_bytes())
        at = int(where * len(content))
        if how == "bit" and content:
            content[at] ^= 1 << bit
        elif how == "noise":
            content[at : at + 8] = os.urandom(8)
        elif how == "grow":
            content[at:at] = content[at : at + 16]
        damaged = {"cut": content[:at], "empty": b"", "swap": other.read_bytes()}.get(how, bytes(content))
        path.unlink()
        if how != "gone":
            path.write_bytes(damaged)
        if how == "gone" and (path.name in ("summary.json", "log.json") or "checkpoints" in path.parts):
            return  # as in a run that was interrupted
        check(command, root)


def mutate(content: Any, which: int, value: object) -> Any:
    """Put another value in place of one of all inner ones."""
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            walk(inner[key])

    walk(content)
    inner, key = places[which % len(places)]
    inner[key] = value
    return content


@pytest.mark.slow
@fuzzed(25, command=st.sampled_from(sorted(COMMANDS)), which=st.integers(0, 10**6), value=VALUES, old=st.booleans())
def test_an_entry_of_another_type_is_refused(command: str, which: int, value: object, old: bool) -> None:
    """Also in a file of an older jaxbandit, without a digest: there nobody knows what is right, but it is one line."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        place().copy(root)
        there = files(root, READ[command])
        found = [path for path in there if path.suffix == ".json" and "checkpoints" not in path.parts]
        path = found[which % len(found)]
        content = json.loads(path.read_bytes())
        if old:
            del content["sha256"]
        path.write_text(json.dumps(mutate(content, which // len(found), value)))
        if not old:
            check(command, root)
            return
        result = said(command, root)
        assert result.status in (0, 2), result
        assert "Traceback" not in result.err
        assert result.err.count("jaxbandit: error: ") == (result.status == 2), result


ENTRIES = """
env agent ratings user-column batch-size training_loops steps_per_loop delay seeds seed alpha add_bias fingerprints
env_settings agent_settings propensity_samples sha256 duplicates encoding implicit config base zork
"""
NUMBERS = st.floats() | st.integers() | st.sampled_from(["1e999"])
ANYTHING = VALUES | NUMBERS | st.text(max_size=4) | st.lists(st.integers(), max_size=2)


@fuzzed(50, entries=st.dictionaries(st.sampled_from(ENTRIES.split()), ANYTHING, max_size=4))
def test_a_config_that_was_edited_is_taken_or_refused_in_one_line(entries: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.json"
        path.write_text(json.dumps({"env": "wheel", "agent": "linucb", **entries}))
        result = call("run", "--config", path, "--help")  # reads and checks it, and runs nothing
        refused = result.err.splitlines()
        assert result.status in (0, 2), result
        assert len(refused) == (result.status == 2), result


FLAGS = """
--env --agent --ratings --batch-size --training-loops --steps-per-loop --delay --seeds --seed --alpha --gamma --config
--checkpoint-every --propensity-samples --resume --profile --grid --sample --halving --max-lanes --metric --out --zork
"""
ODD = ["", "0", "-1", "1e39", "nan", "inf", "wheel", "linucb,lints", "alpha=1,2", "alpha=log:0:1", "/", "."]
PRINTED = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
TEXTS = st.sampled_from(ODD) | PRINTED | st.integers().map(str) | st.floats().map(str)


@fuzzed(
    50,
    command=st.sampled_from(["run", "sweep", "evaluate"]),
    flags=st.lists(st.tuples(st.sampled_from(FLAGS.split()), TEXTS), min_size=1, max_size=4),
)
def test_flags_are_taken_or_refused_in_one_line(command: str, flags: list[tuple[str, str]]) -> None:
    """A delay that outlasts the run, at the end, keeps what is allowed from being run."""
    never = ("--training-loops", "1", "--steps-per-loop", "1", "--delay", "7") if command != "evaluate" else ()
    log = ("/no/such/log",) if command == "evaluate" else ()
    result = call(command, *log, *(part for flag in flags for part in flag), *never)
    assert result.status == 2 or "--help" in str(flags), result
    assert len(result.err.splitlines()) == 1, result
