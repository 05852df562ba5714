"""Quotes: those that enclose fields, and stray ones in columns that are not even read."""

from pathlib import Path

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import read
from tests.data.small_sets import triples


def rows_of(tmp_path: Path, text: str) -> list[tuple[object, object, float]]:
    (tmp_path / "own.csv").write_text(text)
    return triples(read(tmp_path / "own.csv"))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
def test_a_stray_quote_in_a_column_that_is_not_read_swallows_no_row(separator: str, tmp_path: Path) -> None:
    text = 'user,item,rating,title\n1,10,4,the 5" disk\n2,10,5,plain\n1,20,3,the 3" disk\n2,30,1,plain\n3,10,2,plain\n'
    expected = [(1, 10, 4), (2, 10, 5), (1, 20, 3), (2, 30, 1), (3, 10, 2)]
    assert rows_of(tmp_path, text.replace(",", separator)) == expected


@pytest.mark.parametrize(
    "titles",
    [
        ['5"', '3" and 7"', "x"],
        ['"Heroes', "x", 'y"z'],
        ['a "b" c', '""', '"a ""b"" c"'],
        ['"a" b', "x", '"'],
        ['"1, 2"', '5"', '"3, 4" or 5'],
        ['"a\r"', "b", "c"],
    ],
)
def test_every_line_is_a_row_where_nothing_quoted_spans_lines(titles: list[str], tmp_path: Path) -> None:
    rows = "".join(f"{n},{n * 10},{title},{n}\n" for n, title in enumerate(titles, 1))
    assert rows_of(tmp_path, f"user,item,title,rating\n{rows}") == [(n, n * 10, n) for n in range(1, 4)]


def test_200_000_rows_with_stray_quotes_stay_200_000(tmp_path: Path) -> None:
    titles = ("plain", '12" vinyl', "also plain", '"Live" at 7" speed', "x")
    rows = "".join(f"{n // 100},{n % 100},{n % 5},{titles[n % 5]}\n" for n in range(200_000))
    found = rows_of(tmp_path, f"user,item,rating,title\n{rows}")
    assert len(found) == 200_000
    assert found[777] == (7, 77, 2)


def test_a_quoted_field_may_span_lines_and_later_rows_keep_their_numbers(tmp_path: Path) -> None:
    text = 'user,item,rating,text\n1,a,4,"good,\nvery ""good""\n\n# 1"\n2,b,3,short\n1,b,2,"x\ny"\n2,a,{}\n'
    assert rows_of(tmp_path, text.format(1)) == [(1, "a", 4), (2, "b", 3), (1, "b", 2), (2, "a", 1)]
    with pytest.raises(InputError, match="row 9: rating = none"):
        rows_of(tmp_path, text.format("none"))


def test_rows_within_quotes_that_may_be_stray_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 2: a quote opens here, and row 3, which reads like a row, lies within"):
        rows_of(tmp_path, 'user,item,rating,title\n1,10,4,"Heroes\n2,20,5,Low"\n3,30,1,x\n')


def test_a_line_with_a_stray_quote_and_another_number_of_fields_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.csv, row 3: more fields than in row 1: allowed: 4"):
        rows_of(tmp_path, 'user,item,rating,title\n1,10,4,5"\n2,20,5,3", or 4\n')


def test_quotes_around_ids_and_ratings_are_no_part_of_them(tmp_path: Path) -> None:
    text = '"user"\t"item"\t"rating"\n"u1"\t"a"\t"4"\n"u2"\t"b, c"\t"3"\n'
    assert rows_of(tmp_path, text) == [("u1", "a", 4), ("u2", "b, c", 3)]


def test_blanks_within_quotes_are_kept(tmp_path: Path) -> None:
    text = '"user"  "item"\t"rating"\n "a  b"   "x"  4\n"a b"\t"x y" 3 \n'
    assert rows_of(tmp_path, text) == [("a  b", "x", 4), ("a b", "x y", 3)]


def test_a_field_of_any_length_is_read(tmp_path: Path) -> None:
    long = "x" * 6_000_000
    assert rows_of(tmp_path, f'user,item,rating,text\n1,2,3,"{long}"\n2,3,4,{long}"\n') == [(1, 2, 3), (2, 3, 4)]
    assert rows_of(tmp_path, f"user,item,rating,{long}\n1,2,3,\n2,3,4,\n") == [(1, 2, 3), (2, 3, 4)]
