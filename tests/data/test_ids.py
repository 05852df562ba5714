"""Ids stay what they are."""

from pathlib import Path

import polars as pl
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import read


def users_of(tmp_path: Path, ids: list[str], header: str = "user,item,rating\n") -> list[object]:
    (tmp_path / "own.csv").write_text(header + "".join(f"{name},{n},{n}\n" for n, name in enumerate(ids)))
    return read(tmp_path / "own.csv").user_ids.tolist()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["12", "3", "-4", "0"], [-4, 0, 3, 12]),
        (["0012", "12"], ["0012", "12"]),
        (["-0", "0"], ["-0", "0"]),
        (["+1", "1"], ["+1", "1"]),
        (["1.0", "1", "2.0"], [1, 2]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["1.0", "1.00", "01"], ["01", "1.0", "1.00"]),
        (["1e3", "1000"], ["1000", "1e3"]),
        (["12345678901234567890", "1"], ["1", "12345678901234567890"]),
        ([" 7", "8 "], [7, 8]),
        (["a", "A", "é"], ["A", "a", "é"]),
        (["Nancy", "nullo", "inf"], ["Nancy", "inf", "nullo"]),
    ],
)
def test_ids_are_text_unless_all_are_whole_numbers(ids: list[str], expected: list[object], tmp_path: Path) -> None:
    assert users_of(tmp_path, ids) == expected
    assert users_of(tmp_path, ids, header="user,item,rating\n") == expected


@pytest.mark.parametrize("others", [["1", "2"], ["a", "b"]])
@pytest.mark.parametrize("gap", ["NA", "NULL", "nan", "None", "\\N", "<NA>", '""', " "])
def test_what_tools_write_for_a_missing_id_is_no_user(gap: str, others: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own.csv, row 4: user (is missing|= .*, as tools write what is missing)"):
        users_of(tmp_path, [*others, gap])


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 1001, "at most 1,000 bytes"), ("x" * 6_000_000, "at most 1,000 bytes")]
)
def test_what_is_too_long_for_an_id_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        users_of(tmp_path, ["a", name])


def test_ids_of_parquet_follow_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"

    def users(ids: pl.Series) -> list[object]:
        rest = {"item": list(range(len(ids))), "rating": list(range(len(ids)))}
        pl.DataFrame({"user": ids, **rest}).write_parquet(path)
        return read(path).user_ids.tolist()

    assert users(pl.Series(["0012", "12"])) == ["0012", "12"]
    assert users(pl.Series([b"x", b"y"])) == ["x", "y"]
    assert users(pl.Series(["u", "v"], dtype=pl.Categorical)) == ["u", "v"]
    assert users(pl.Series([2**64 - 1, 1], dtype=pl.UInt64)) == ["1", str(2**64 - 1)]
    assert users(pl.Series([2**40, 1], dtype=pl.Int128)) == [1, 2**40]
    assert users(pl.Series([3.0, 1.0])) == [1, 3]
    for odd in (
        pl.Series([[1], [2]]),
        pl.Series([1, 2], dtype=pl.Duration("us")),
        pl.Series([1, 2], dtype=pl.Date),
        pl.Series([b"\xff", b"y"]),
        pl.Series([{"a": 1}, {"a": 2}]),
    ):
        with pytest.raises(InputError, match=r"'user' \(the user column\) is of type .*: allowed: text or numbers"):
            users(odd)
    with pytest.raises(InputError, match="no NUL"):
        users(pl.Series(["a", "a\0"]))
