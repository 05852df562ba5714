import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import DATASETS, Columns, load, read
from tests.data.small_sets import write_directory, write_zip

HEADER = "userId,movieId,rating\n"
GOOD = HEADER + "1,1,3\n2,2,4\n"


def refusal(path: Path | str, *columns: Columns) -> str:
    with pytest.raises(InputError) as caught:
        read(path, *columns)
    message = str(caught.value)
    assert "\n" not in message
    assert "allowed: " in message
    return message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty file"),
        ("\n \n", "empty file"),
        (HEADER, "no ratings"),
        ("userId,rating\n1,3\n", "own.csv: no item column is recognised"),
        ("alpha\n1\n", "own.csv: no user column is recognised"),
        (HEADER + "1,1,3\n2,2,nan\n", "own.csv, row 3: rating = nan"),
        (HEADER + "1,1,-inf\n2,2,3\n", "own.csv, row 2: rating = -inf"),
        (HEADER + "1,1,3\n2,2,1e39\n", "own.csv, row 3: rating = 1"),
        (HEADER + "1,1,3\n2,2,good\n", "own.csv, row 3: rating = good"),
        (HEADER + "1,1,3\n2,2,\n", "own.csv, row 3: rating is missing"),
        (HEADER + "1,1,3\n2,2\n", "own.csv, row 3: rating is missing"),
        (HEADER + "1,1,3\n\n2,2,\n", "own.csv, row 4: rating is missing"),
        (HEADER + "1,1,3\n ,2,3\n", "own.csv, row 3: user is missing"),
        (HEADER + "1,1,3\n2,2,3,4\n", "own.csv, row 3: more fields than in row 1: allowed: 3"),
        (GOOD + "3,1,5\n2,2,1\n1,1,2\n", "own.csv, row 5: duplicate rating of user = 2, item = 2 (first in row 3)"),
        (HEADER + "5,1,3\n5,2,4\n", "own.csv: one user only (user = 5)"),
        (HEADER + "1,8,3\n2,8,4\n", "own.csv: one item only (item = 8)"),
        ("1,1,3\n2,2,x\n", "own.csv, row 2: rating = x"),
        ("PK\x03\x04 no more", "truncated or corrupt zip"),
        ("a\0b\0c", "binary content"),
    ],
)
def test_a_bad_table_is_refused_with_the_row_named(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(content)
    assert said in refusal(tmp_path / "own.csv")


@pytest.mark.parametrize("row", ["7\t30\tfive\t1", "7\t30\t6\t1", "7\t30", "7\t30\t0\t1"])
@pytest.mark.parametrize("at", [0, 2])
def test_a_bad_row_of_u_data_is_named_even_where_it_is_the_first(row: str, at: int, tmp_path: Path) -> None:
    rows = ["1\t2\t3\t0", "4\t5\t3\t0"]
    rows.insert(at, row)
    (tmp_path / "u.data").write_text("\n".join(rows) + "\n")
    message = refusal(tmp_path / "u.data")
    assert f"u.data, row {at + 1}:" in message


def test_a_missing_column_suggests_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("who,item,rating\n1,1,3\n2,2,4\n")
    message = refusal(tmp_path / "own.csv", Columns(user="whoo"))
    assert "no column 'whoo' (the user column): did you mean 'who'? allowed: who, item, rating" in message


def test_a_missing_path_and_a_directory_without_ratings_are_refused(tmp_path: Path) -> None:
    assert "no such file or directory" in refusal(tmp_path / "none.csv")
    assert "no ratings file" in refusal(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(GOOD)
    assert "several tables (a.csv, b.csv)" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(GOOD)
    (tmp_path / "own.csv").chmod(0)
    assert "permission denied" in refusal(tmp_path / "own.csv")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_zip_is_refused(share: float, tmp_path: Path) -> None:
    whole = write_zip("ml-25m", tmp_path / "ml-25m.zip").read_bytes()
    (tmp_path / "ml-25m.zip").write_bytes(whole[: int(share * len(whole))])
    assert "truncated or corrupt zip" in refusal(tmp_path / "ml-25m.zip")


def test_a_zip_with_a_flipped_byte_or_without_ratings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("own.csv", GOOD)
    path.write_bytes(path.read_bytes().replace(b"2,2,4", b"2,2,5"))
    assert "truncated or corrupt zip" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "hello")
    assert "no ratings file" in refusal(path)


def test_truncated_parquet_is_refused_and_rows_count_from_one(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pl.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "rating": [1.0, float("nan"), 2.0]}).write_parquet(path)
    assert "own.parquet, row 2: rating = nan" in refusal(path)
    pl.DataFrame({"user": [1.0, 2.5], "item": [1, 2], "rating": ["1", "2"]}).write_parquet(path)
    assert "own.parquet, row 2: user = 2.5" in refusal(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert "truncated or corrupt Parquet" in refusal(path)


def test_a_damaged_side_file_is_refused(tmp_path: Path) -> None:
    directory = write_directory("ml-100k", tmp_path)
    (directory / "u.user").write_text("7|24|M|artist|85711\n9|old|F|doctor|94043\n")
    assert "u.user, row 2: age = old" in refusal(directory)
    (directory / "u.user").write_text("7|24|M|artist|85711\n")
    assert "u.user: no row for user = 9" in refusal(directory)
    (directory / "u.user").write_text("7|24|M\n")
    assert "u.user, row 1: 3 fields" in refusal(directory)


def test_load_tells_names_from_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"unknown data set 'synth-100': did you mean 'synth-100k'\?"):
        load("synth-100")
    with pytest.raises(InputError, match="run `jaxbandit data fetch ml-25m`"):
        load("ml-25m")
    with pytest.raises(InputError, match="no such file"):
        load("some/where.csv")
    with pytest.raises(InputError, match="user_column = 'who'"):
        load("synth-100k", user_column="who")
    (tmp_path / "movielens").mkdir()
    write_zip("ml-25m", tmp_path / "movielens" / "ml-25m.zip")
    assert load("ml-25m").name == "ml-25m"
    assert load(tmp_path / "movielens" / "ml-25m.zip").num_users == 2
    assert set(DATASETS) >= {"synth-100k", "synth-1m", "synth-32m", "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-32m"}
