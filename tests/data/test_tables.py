"""How tables are written: separators, headers, places, encodings, what stands between rows, parts and members."""

import contextlib
import zipfile
from pathlib import Path

import polars as pl
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import Columns, read
from tests.data.small_sets import triples

EXPECTED = [(1, 10, 4), (2, 10, 5), (1, 20, 3)]


def rows_of(tmp_path: Path, text: str | bytes, *columns: str, **options: object) -> list[tuple[object, object, float]]:
    (tmp_path / "own.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    return triples(read(tmp_path / "own.txt", Columns(*columns), **options))


def refusal(tmp_path: Path, text: str | bytes, *columns: str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, text, *columns, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "1 10 4\n2 10 5\n1 20 3\n",
        "  1   10 4\n 2\t10\t5 \r\n1 20 3",
        "user item  rating\n1 10 4\n2 10 5\n1 20 3\n",
        '"user" "item" "rating"\n"1" "10" 4\n"2" "10" 5\n"1" "20" 3\n',
        "% bip weighted\n% 3 2 2\n1 10 4\n2 10 5\n1 20 3\n",
        "%%MatrixMarket matrix coordinate real general\n% made by hand\n2 20 3\n1 10 4\n2 10 5\n1 20 3\n",
        "sep=;\nuser;item;rating\n1;10;4\n2;10;5\n1;20;3\n",
        "# user,item,rating\n1,10,4\n2,10,5\n1,20,3\n",
        "# made by hand\nitem,user,rating\n10,1,4\n\n10,2,5\n# half way\n  \n20,1,3\n\n",
        "user,item,rating\r1,10,4\r2,10,5\r1,20,3\r",
        "user,item,rating,a title\twith a tab::and more\n1,10,4,x\n2,10,5,y\n1,20,3,z\n",
        "1,10,4,12::30::59\n2,10,5,12::31::00\n1,20,3,x\n",
        "1;10;4;1,5\n2;10;5;2,5\n1;20;3;3,5\n",
        '{"user": 1, "item": "10", "rating": 4.0, "x": [1]}\n\n{"rating": 5, "item": 10, "user": "2"}\n'
        '{"item": 10.0, "user": 1, "item": 20, "rating": "3"}\n',
        b"\xff\xfe" + "user\titem\trating\n1\t10\t4\n2\t10\t5\n1\t20\t3\n".encode("utf-16-le"),
        b"user,item,rating,note\n1,10,4,caf\xe9\n2,10,5,\xff\xfe\n1,20,3,x\n",
        "user,item,rating,note\n1,10,4,x\n2,10,5\n1,20,3,y,\n".replace("y,", "y"),
        "user,item,rating\n1,10,4\n2,10,5\n1,20,3\n\x1a",
    ],
)
def test_the_same_rows_are_read_however_they_are_written(text: str | bytes, tmp_path: Path) -> None:
    if isinstance(text, str) and text.startswith("{"):
        assert rows_of(tmp_path, text.replace('"item": 10.0, ', "")) == EXPECTED
    else:
        assert rows_of(tmp_path, text) == EXPECTED


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("film,stars,user", ("user", "film", "stars")),
        ("book,score,customer", ("customer", "book", "score")),
        ("artistID,weight,userID", ("userID", "artistID", "weight")),
        ("business_id,stars,user_id", ("user_id", "business_id", "stars")),
        ("asin,overall,reviewerID", ("reviewerID", "asin", "overall")),
    ],
)
def test_common_names_are_recognised(header: str, names: tuple[str, ...], tmp_path: Path) -> None:
    text = f"{header}\n10,4,1\n10,5,2\n20,3,1\n"
    assert rows_of(tmp_path, text) == rows_of(tmp_path, text, *names) == EXPECTED


def test_what_may_be_the_rating_twice_is_asked_for(tmp_path: Path) -> None:
    text = "user,item,score,stars\n1,10,4,1\n2,10,5,2\n"
    assert "several may be the rating column; name it with --rating-column" in refusal(tmp_path, text)
    assert "--implicit" in refusal(tmp_path, "user,item,when\n1,10,4\n2,10,5\n")


@pytest.mark.parametrize("separator", [",", " ", "\t", "::"])
def test_columns_are_chosen_by_place(separator: str, tmp_path: Path) -> None:
    places = ("column:4", "column:1", "column:2")
    text = "10,4,x,1\n10,5,y,2\n20,3,z,1\n".replace(",", separator)
    assert rows_of(tmp_path, text, *places) == EXPECTED
    assert rows_of(tmp_path, f"i,r,t,u\n{text}".replace(",", separator), *places) == EXPECTED
    assert "no column:9 (the user column): allowed: column:1 to column:4" in refusal(tmp_path, text, "column:9")
    assert "row 1: rating = bad" in refusal(tmp_path, text.replace("4", "bad", 1), *places)


def test_a_row_is_no_header_because_a_name_stands_in_it(tmp_path: Path) -> None:
    text = "1,10,4\n2,10,5\n1,20,3\n"
    assert "numbers, and no header: allowed: column:1" in refusal(tmp_path, text, "1", "10", "4")
    words = "ann,x,4\nbob,x,5\nann,y,3\n"
    assert "'ann' is in row 1 and again below" in refusal(tmp_path, words, "ann", "x", "4")
    assert rows_of(tmp_path, words, "column:1") == [("ann", "x", 4), ("bob", "x", 5), ("ann", "y", 3)]


def test_names_of_a_data_frame_without_names_are_no_row(tmp_path: Path) -> None:
    text = "0,1,2\n1,10,4\n2,10,5\n1,20,3\n"
    assert "row 1: 0, 1, 2 may be names or a row" in refusal(tmp_path, text)
    assert rows_of(tmp_path, text, "0", "1", "2") == EXPECTED
    assert rows_of(tmp_path, text, "column:1", "column:2", "column:3") == [(0, 1, 2), *EXPECTED]


def test_one_column_has_one_role(tmp_path: Path) -> None:
    text = "user,item,rating\n1,10,4\n2,10,5\n"
    assert "'user' is given two roles" in refusal(tmp_path, text, "user", "user")
    assert "'user' is the user and the rating column" in refusal(tmp_path, text, None, None, "user")
    assert "several columns 'a'" in refusal(tmp_path, "a,a,item,rating\n1,1,10,4\n2,2,10,5\n", "a")


def test_an_encoding_is_told_or_named_by_a_mark(tmp_path: Path) -> None:
    text = "user,item,rating\nJosé,10,4\nZoë,20,5\n"
    expected = [("José", 10, 4), ("Zoë", 20, 5)]
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-8", "utf-8-sig", "utf-32"):
        assert rows_of(tmp_path, text.encode(encoding), encoding=encoding) == expected
    for marked in ("utf-16", "utf-32", "utf-8-sig"):
        assert rows_of(tmp_path, text.encode(marked)) == expected
    assert "row 2: bytes that are no UTF-8: allowed: UTF-8" in refusal(tmp_path, text.encode("latin-1"))
    assert "row 2: is not ascii" in refusal(tmp_path, text, encoding="ascii")
    assert "encoding is 'zip'" in refusal(tmp_path, text, encoding="zip")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,10,4\n#2,10,5\n1,20,3\n", "row 2: begins with # and reads like a row"),
        ("#1,10,4\n2,10,5\n1,20,3\n", "row 1: begins with # and reads like a row"),
        ("user,item,rating\n1,10,4\n2,10,1e19\n", "row 3: rating = 1e19: allowed: a number from -1e+06 to 1e+06"),
        ("user,item,rating\n1,10,4\n2,10,3e38\n", "row 3: rating = 3e38"),
        ("user;item;rating\n1;10;4,5\n2;10;5\n", "row 2: rating = 4,5: allowed: a finite number, as 4.5"),
        ("user,item,rating\n1,10,3\n2,20,3\n", "all ratings are 3, or nearly, and tell nothing apart"),
        ("user,item,rating\n1,10,1e-40\n2,20,2e-40\n", "tell nothing apart"),
        ('{"user": 1, "item": 2, "rating": 3}\n{"user": 1, "item": 2, "rating"\n', "row 2: no JSON object"),
        ("user,item,rating\n1,10,\n2,10,\n", "row 2: rating is missing"),
        ("user,item,rating\n1,10,true\n2,10,\n", "row 2: rating = true"),
        ('[{"user": 1}]\n', "row 1: no JSON object"),
        ("{'user': 1}\n", "row 1: no JSON object"),
        ('{"user": 1, "item": 2, "rating": 3}\n{"user": 1, "item": 2}\n', "row 2: rating is missing"),
        ('{"user":' * 100_000, "row 1: no JSON object"),
        ("[" * 100_000, "no user column is recognised"),
    ],
)
def test_what_may_be_read_wrongly_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, text)


def test_ids_may_begin_with_the_sign_of_a_comment(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "#a,10,4\n#b,20,5\n") == [("#a", 10, 4), ("#b", 20, 5)]
    assert rows_of(tmp_path, "{,10,4\n[,20,5\n") == [("{", 10, 4), ("[", 20, 5)]
    assert rows_of(tmp_path, 'user,item,rating\nx,10,4\n"#b",20,5\n') == [("x", 10, 4), ("#b", 20, 5)]


def test_repeated_pairs_are_refused_or_follow_the_rule(tmp_path: Path) -> None:
    text = "user,item,rating\n1,10,4\n2,10,5\n1,10,1\n1,20,3\n1,10,2\n"
    assert "one per pair, or --duplicates last | first | mean" in refusal(tmp_path, text)
    assert rows_of(tmp_path, text, duplicates="first") == EXPECTED
    assert rows_of(tmp_path, text, duplicates="last") == [(2, 10, 5), (1, 20, 3), (1, 10, 2)]
    assert rows_of(tmp_path, text, duplicates="mean") == [(1, 10, pytest.approx(7 / 3)), (2, 10, 5), (1, 20, 3)]
    assert "duplicates is 'none'" in refusal(tmp_path, text, duplicates="none")


def test_true_and_false_are_ratings(tmp_path: Path) -> None:
    expected = [(1, 10, 1), (2, 20, 0)]
    assert rows_of(tmp_path, "user,item,clicked\n1,10,True\n2,20,False\n") == expected
    pl.DataFrame({"user": [1, 2], "item": [10, 20], "click": [True, False]}).write_parquet(tmp_path / "own.parquet")
    assert triples(read(tmp_path / "own.parquet")) == expected


def test_parts_of_spark_are_one_table_and_their_rows_are_named(tmp_path: Path) -> None:
    for name, content in {
        "part-00000.csv": "user,item,rating\n1,10,4\n",
        "part-00001.csv": "",
        "part-00002.csv": "user,item,rating\n2,10,5\n1,20,3\n",
        "_SUCCESS": "",
        ".part-00000.csv.crc": "x",
    }.items():
        (tmp_path / name).write_text(content)
    assert triples(read(tmp_path)) == EXPECTED
    (tmp_path / "part-00003.csv").write_text("user,item,rating\n2,20,x\n")
    with pytest.raises(InputError, match=r"part-00003\.csv, row 2: rating = x"):
        read(tmp_path)
    (tmp_path / "part-00003.csv").write_text("item,user,rating\n2,20,1\n")
    with pytest.raises(InputError, match=r"part-00003\.csv: other columns than in part-00000\.csv"):
        read(tmp_path)


def test_parts_without_a_header_and_of_parquet_are_one_table(tmp_path: Path) -> None:
    for number, (user, item, rating) in enumerate(EXPECTED):
        (tmp_path / f"part-{number}").write_text(f"{user}\t{item}\t{rating}\n")
    assert triples(read(tmp_path)) == EXPECTED
    (tmp_path / "columns").mkdir()
    for number, (user, item, rating) in enumerate(EXPECTED):
        frame = pl.DataFrame({"user": [user], "item": [item], "rating": [rating]})
        frame.write_parquet(tmp_path / "columns" / f"part-{number}.parquet")
    assert triples(read(tmp_path / "columns")) == EXPECTED


def test_a_member_of_a_zip_is_named_like_a_file_in_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("a/one.csv", "1,10,4\n2,10,5\n1,20,3\n")
        archive.writestr("a/two.csv", "user,item,rating\n")
    assert triples(read(tmp_path / "own.zip" / "a" / "one.csv")) == EXPECTED
    with pytest.raises(InputError, match=r"several tables \(a/one.csv, a/two.csv\).*own.zip/FILE names one"):
        read(tmp_path / "own.zip")
    with pytest.raises(InputError, match=r"has no 'one\.csv': allowed: a/one\.csv, a/two\.csv"):
        read(tmp_path / "own.zip" / "one.csv")


def test_of_two_folders_with_ratings_none_is_chosen_in_silence(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ratings.csv").write_text("userId,movieId,rating\n1,10,4\n2,20,5\n")
    with pytest.raises(InputError, match=r"several tables \(a/ratings.csv, b/ratings.csv\)"):
        read(tmp_path)


def test_every_row_of_implicit_ratings_is_a_positive_beside_as_many_absent_pairs(tmp_path: Path) -> None:
    text = "user,item\n" + "".join(f"{n % 7},{n * n % 23}\n" for n in range(60))
    found = rows_of(tmp_path, text, implicit=True)
    liked = {(n % 7, n * n % 23) for n in range(60)}
    assert {(user, item) for user, item, rating in found if rating == 1} == liked
    absent = [(user, item) for user, item, rating in found if rating == 0]
    assert len(set(absent)) == len(absent) > len(liked) / 2
    assert not liked.intersection(absent)
    assert found == rows_of(tmp_path, text, implicit=True)
    assert "one of them" in refusal(tmp_path, text, None, None, "item", implicit=True)
    assert "every user" in refusal(tmp_path, "user,item\n1,1\n1,2\n2,1\n2,2\n", implicit=True)
    assert "may be names or a row" in refusal(tmp_path, "ann,x\nbob,y\n", implicit=True)
    assert rows_of(tmp_path, "1,1\n2,2\n3,3\n", implicit=True)[:3] == [(1, 1, 1), (2, 2, 1), (3, 3, 1)]


def test_a_flipped_parquet_file_is_refused_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.parquet"
    frame = pl.DataFrame({"user": range(300), "item": range(300), "rating": [n % 5 for n in range(300)]})
    frame.write_parquet(path)
    whole = path.read_bytes()
    for at in range(4, len(whole), 7):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        with contextlib.suppress(InputError):
            read(path)
    assert capfd.readouterr().err == ""
