import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import Columns, Ratings, read
from tests.data.small_sets import SMALL_SETS, triples, write_directory, write_zip

each_layout = pytest.mark.parametrize("layout", sorted(SMALL_SETS))


def feature(ratings: Ratings, what: str, name: str) -> list[float]:
    names, values = getattr(ratings, f"{what}_feature_names"), getattr(ratings, f"{what}_features")
    return values[:, names.index(name)].tolist()


@each_layout
def test_a_movielens_zip_a_directory_and_a_nested_directory_read_alike(layout: str, tmp_path: Path) -> None:
    directory = write_directory(layout, tmp_path / "parent")
    paths = (directory, tmp_path / "parent", write_zip(layout, tmp_path / f"{layout}.zip"))
    found = [read(path) for path in paths]
    for other in found[1:]:
        assert triples(other) == triples(found[0])
        assert other.item_feature_names == found[0].item_feature_names
        np.testing.assert_array_equal(other.item_features, found[0].item_features)
    assert found[0].name == found[2].name == layout


@each_layout
def test_ids_are_reindexed_in_the_order_of_the_original_ids_and_unrated_items_are_left_out(
    layout: str, tmp_path: Path
) -> None:
    ratings = read(write_directory(layout, tmp_path))
    assert ratings.user_ids.tolist() == [7, 9]
    assert ratings.item_ids.tolist() == [10, 30]
    assert ratings.user.dtype == ratings.item.dtype == np.int32
    assert ratings.rating.dtype == np.float32


@each_layout
def test_movielens_sets_bring_their_own_rating_scale(layout: str, tmp_path: Path) -> None:
    ratings = read(write_directory(layout, tmp_path))
    assert (ratings.low, ratings.high) == ((1, 5) if layout in ("ml-100k", "ml-1m") else (0.5, 5))


@each_layout
def test_a_lone_file_of_ratings_is_read_with_its_scale_and_without_side_features(layout: str, tmp_path: Path) -> None:
    name, content = next(iter(SMALL_SETS[layout].items()))
    (tmp_path / name).write_text(content)
    ratings = read(tmp_path / name)
    assert len(ratings.rating) == 3
    assert (ratings.low, ratings.high) == ((1, 5) if layout in ("ml-100k", "ml-1m") else (0.5, 5))
    assert ratings.item_features is None


def test_users_of_ml_100k_and_ml_1m_have_age_gender_and_occupation(tmp_path: Path) -> None:
    small, large = (read(write_directory(layout, tmp_path)) for layout in ("ml-100k", "ml-1m"))
    assert small.user_feature_names == ("age", "gender_M", "occupation_artist", "occupation_doctor")
    assert small.user_features.tolist() == [[24, 1, 1, 0], [53, 0, 0, 1]]
    assert large.user_feature_names == ("age", "gender_M", "occupation_2", "occupation_10")
    assert large.user_features.tolist() == [[25, 1, 0, 1], [1, 0, 1, 0]]


def test_items_have_genre_flags_in_every_layout(tmp_path: Path) -> None:
    sets = {layout: read(write_directory(layout, tmp_path)) for layout in SMALL_SETS}
    assert feature(sets["ml-100k"], "item", "genre_unknown") == [1, 0]
    assert feature(sets["ml-100k"], "item", "genre_Western") == [0, 1]
    assert feature(sets["ml-1m"], "item", "genre_Drama") == [1, 1]
    assert feature(sets["ml-1m"], "item", "genre_Comedy") == [1, 0]
    assert feature(sets["ml-10m"], "item", "genre_Drama") == [0, 1]
    for layout in ("ml-20m", "ml-25m", "ml-32m"):
        assert sets[layout].item_feature_names == ("genre_Drama", "genre_IMAX", "genre_War")
        assert sets[layout].item_features.tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("separator", [",", "\t", "::", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_separator_and_line_end_reads_the_same_rows(separator: str, end: str, tmp_path: Path) -> None:
    rows = [("stars", "user_id", "when", "item_id"), ("4", "b", "x", "2"), ("2.5", "a", "y", "10")]
    (tmp_path / "own.txt").write_bytes(end.join(separator.join(row) for row in rows).encode() + b"\r\n\n")
    ratings = read(tmp_path / "own.txt")
    assert triples(ratings) == [("b", 2, 4.0), ("a", 10, 2.5)]
    assert (ratings.low, ratings.high, ratings.name) == (2.5, 4, "own")


def test_columns_may_be_named_in_text_and_in_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"who": [5, 4], "what": ["x", "y"], "user": [0, 0], "liking": [1, 9]})
    frame.write_csv(tmp_path / "own.csv")
    frame.write_parquet(tmp_path / "own.parquet")
    for name in ("own.csv", "own.parquet"):
        ratings = read(tmp_path / name, Columns("who", "what", "liking"))
        assert triples(ratings) == [(5, "x", 1), (4, "y", 9)]


def test_quotes_a_byte_order_mark_and_late_half_stars_are_understood(tmp_path: Path) -> None:
    rows = "".join(f'{user},"a, b",3\n' for user in range(12_000))
    (tmp_path / "own.csv").write_bytes(b"\xef\xbb\xbf" + f"user,item,rating\n{rows}0,c,3.5\n".encode())
    ratings = read(tmp_path / "own.csv")
    assert ratings.item_ids.tolist() == ["a, b", "c"]
    assert ratings.rating[-1] == 3.5


def test_a_zip_with_one_table_of_any_name_is_read(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("README.md", "hello")
        archive.writestr("__MACOSX/deep/._mine.tsv", "shadow")
        archive.writestr("deep/mine.tsv", "u1\ti1\t3\nu2\ti2\t4\n")
    assert triples(read(tmp_path / "own.zip")) == [("u1", "i1", 3), ("u2", "i2", 4)]


def test_ratings_like_movielens_by_header_but_on_another_scale_keep_their_scale(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,10,0\n2,2,7,0\n")
    ratings = read(tmp_path / "ratings.csv")
    assert (ratings.low, ratings.high) == (7, 10)


def test_a_path_may_be_of_a_cloud_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from etils.epath import testing

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://localhost")
    (tmp_path / "u.csv").write_text("user,item,rating\n1,1,3\n2,2,4\n")
    local = {"gs://bucket/u.csv": tmp_path / "u.csv"}
    with testing.mock_epath(
        exists=lambda _, path: str(path) in local,
        isdir=lambda *_: False,
        open=lambda _, path, mode="r", **__: local[str(path)].open(mode),
    ):
        assert len(read("gs://bucket/u.csv").rating) == 2


def test_the_real_ml_100k_has_its_published_counts_and_marginals(ml_100k_dir: Path) -> None:
    ratings = read(ml_100k_dir)
    assert (ratings.num_users, ratings.num_items, len(ratings.rating)) == (943, 1_682, 100_000)
    np.testing.assert_array_equal(ratings.item_ids, np.arange(1, 1_683))
    assert ratings.rating.mean(dtype=np.float64) == pytest.approx(3.52986)
    first = (ratings.user_ids[ratings.user[0]], ratings.item_ids[ratings.item[0]], ratings.rating[0])
    assert first == (196, 242, 3)
    assert ratings.user_features.shape == (943, 2 + 21)
    assert ratings.user_features[0, :2].tolist() == [24, 1]
    assert ratings.item_features.shape == (1_682, 19)
    toy_story = [name for name, flag in zip(ratings.item_feature_names, ratings.item_features[0], strict=True) if flag]
    assert toy_story == ["genre_Animation", "genre_Children's", "genre_Comedy"]


@each_layout
@pytest.mark.parametrize("damage", ["mark", "header", "blank lines", "CRLF", "CR", "stray quote", "packed"])
def test_side_files_are_read_alike_however_editors_have_left_them(layout: str, damage: str, tmp_path: Path) -> None:
    headers = {
        "u.user": "user|age|gender|job|zip", "u.item": "|".join(["movie id"] + ["x"] * 23),
        "users.dat": "UserID::Gender::Age::Occupation::Zip", "movies.dat": "MovieID::Title::Genres",
        "movies.csv": "MovieID,Title,Genres",
    }  # fmt: skip
    expected = read(write_directory(layout, tmp_path / "whole"))
    directory = write_directory(layout, tmp_path / "other")
    for name in set(headers) & set(SMALL_SETS[layout]):
        text = (directory / name).read_text("latin-1")
        if damage == "header":
            text = f"{headers[name]}\n{text.removeprefix('movieId,title,genres' + chr(10))}"
        elif damage == "blank lines":
            text = text.replace("\n", "\n\n") + " \n"
        elif damage == "stray quote":
            text = text.replace("Unseen", 'the 5" disk').replace("B::", '"B::').replace("|B|", '|"B|')
        elif damage in ("CR", "CRLF"):
            text = text.replace("\n", {"CR": "\r", "CRLF": "\r\n"}[damage])
        content = (b"\xef\xbb\xbf" if damage == "mark" else b"") + text.encode("latin-1")
        (directory / name).write_bytes(content)
        if damage == "packed":
            (directory / name).unlink()
            (directory / f"{name}.gz").write_bytes(gzip.compress(content))
    found = read(directory)
    for what in ("user", "item"):
        assert getattr(found, f"{what}_feature_names") == getattr(expected, f"{what}_feature_names")
        np.testing.assert_array_equal(getattr(found, f"{what}_features"), getattr(expected, f"{what}_features"))


def test_a_row_of_a_side_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    directory = write_directory("ml-1m", tmp_path)
    with (directory / "movies.dat").open("a") as file:
        file.write("10::Other::War\n")
    with pytest.raises(InputError, match=r"movies\.dat, row 4: 10 is in row 1 too"):
        read(directory)
