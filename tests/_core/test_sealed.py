"""JSON with its digest: whatever happens to a file, what is read is what was written, or it is refused."""

import json
from typing import NotRequired, TypedDict

import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.fitting import misfit

CONTENT = {"a": 1, "b": {"c": [0.1, -0.0, 1e300, None, True]}, "d": "é ☃ \udcff"}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> epath.Path:
    path = epath.Path(tmp_path_factory.mktemp("sealed") / "file.json")
    sealed.write(path, CONTENT)
    return path


def test_what_was_written_is_read(file) -> None:
    assert sealed.read(file, "") == CONTENT
    laid_out = file.parent / "other.json"
    laid_out.write_bytes(json.dumps(json.loads(file.read_bytes())).encode())  # by a pretty-printer
    assert sealed.read(laid_out, "", always=True) == CONTENT


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_flipped_bit_or_a_cut_is_refused_or_changes_nothing(file, data) -> None:
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[at // 8] ^= 1 << at % 8
    damaged = file.parent / "damaged.json"
    for content in (bytes(flipped), whole[: at // 8]):
        damaged.write_bytes(content)
        try:
            found, words = sealed.read(damaged, "allowed: x", always=True), ""
        except InputError as error:
            found, words = None, str(error)
        assert found == CONTENT or ("\n" not in words and "damaged.json" in words and "allowed: x" in words)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"1", b"\xff", b'{"a": NaN}', b"[" * 10**6, b'{"a":' * 99 + b"1" + b"}" * 99]
)
def test_what_is_no_object_is_refused_in_one_line(content, tmp_path) -> None:
    (tmp_path / "file.json").write_bytes(content)
    for read in (sealed.read, sealed.read_edited):
        with pytest.raises(InputError, match=r"^[^\n]*file.json[^\n]*$"):
            read(tmp_path / "file.json", "")


def test_a_file_of_an_older_jaxbandit_is_read_with_one_warning(tmp_path, capsys) -> None:
    (tmp_path / "file.json").write_text('{"a": 1}')
    for _ in range(2):
        assert sealed.read(tmp_path / "file.json", "") == {"a": 1}
    assert capsys.readouterr().err.count("has no digest, as an older jaxbandit wrote it") == 1
    with pytest.raises(InputError, match="is damaged or was changed"):
        sealed.read(tmp_path / "file.json", "", always=True)


class Inner(TypedDict):
    numbers: list[float]


class Outer(TypedDict):
    inner: dict[str, Inner]
    count: int | None
    pair: tuple[float, float]
    note: NotRequired[str]


def test_the_first_entry_that_does_not_fit_is_named() -> None:
    fits = {"inner": {"x": {"numbers": [1, 2.5]}}, "count": None, "pair": [1, 2]}
    assert not misfit(fits, Outer)
    for name, value, words in (
        ("count", True, "count is True"),
        ("pair", [1], "pair is [1]"),
        ("pair", [1, float("inf")], "pair.1 is inf"),
        ("inner", {"x": {"numbers": [1, "2"]}}, "inner.x.numbers.1 is '2'"),
        ("note", 5, "note is 5"),
    ):
        assert misfit({**fits, name: value}, Outer) == words
    assert misfit({"inner": {}, "pair": [1, 2]}, Outer) == "count is missing"
    assert misfit([], Outer) == "it is []"
