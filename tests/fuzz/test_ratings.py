"""Files of ratings and the flags that say how they are read, at random: right, or refused in one line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import hypothesis
import numpy as np
import polars as pl
from hypothesis import strategies as st

from jaxbandit._core.errors import InputError
from jaxbandit.data import Columns, Ratings, load_labelled, read
from jaxbandit.data.columns import COMMON
from tests.command_line import call
from tests.data.small_sets import SMALL_SETS, triples
from tests.fuzz.budget import fuzzed

Made = TypeVar("Made")
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip
NAMES = (("user", "item", "rating"), ("userId", "movieId", "rating"), ("who", "what", "liking"), ("0", "1", "2"))
# What may be read in two ways is refused; so is what no id and no rating is.
DOUBTS = (
    "reads like a row", "may be names or a row", "is in row 1 and again below", "and no header", "several columns",
    "no column:",  # a first row, without a header, whose quotes span lines
    "tell nothing apart", " only (", "no ratings", "is missing", "tools write", "more fields than", "fields: allowed",
)  # fmt: skip

ODD_IDS = ["007", "7", "1.0", "NA", "a b", "x,y", "#1", "é", "-0"]
ENCODINGS = ["utf-8", "latin-1", "utf-16", "hex", "idna", "rot13", "undefined", "punycode", "x"]

printable = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffd\u2028\x85")
words = st.text(printable, min_size=1, max_size=6).filter(str.strip)
ids = st.one_of(st.integers(-3, 40).map(str), st.sampled_from(ODD_IDS), words)
notes = st.text(st.sampled_from("ab1 ,;\t|:\"'#é\n\r"), max_size=8) | words
scores = st.sampled_from(["1", "2", "3.5", "-1", "0", "1e2", "5.0", ".5"])


class Written(NamedTuple):
    """Rows, and how to write them."""

    rows: list[tuple[str, str, str, str]]  # user, item, rating and a note
    names: tuple[str, str, str]
    order: list[int]
    separator: str
    end: str
    quoting: int
    headed: bool


@st.composite
def tables(draw: st.DrawFn, plain: bool = False) -> Written:
    distinct = {"unique_by": lambda pair: tuple(map(str.strip, pair))}
    pairs = draw(st.lists(st.tuples(ids, ids), min_size=2, max_size=12, **distinct))
    note = st.text(st.sampled_from("abc12.'\" "), max_size=8) if plain else notes
    rows = [(user, item, draw(scores), draw(note)) for user, item in pairs]
    return Written(
        rows, draw(st.sampled_from(NAMES)), draw(st.permutations(range(4))), draw(st.sampled_from(",;\t|")),
        draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        draw(st.booleans()),
    )  # fmt: skip


def text_of(table: Written) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=table.separator, lineterminator=table.end, quoting=table.quoting)
    header = [(*table.names, "note")] if table.headed else []
    for row in [*header, *table.rows]:
        writer.writerow([row[i] for i in table.order])
    return stream.getvalue()


def columns_of(table: Written) -> Columns:
    if table.headed:
        return Columns(*table.names)
    return Columns(*(f"column:{table.order.index(role) + 1}" for role in range(3)))


def as_ids(written: list[str]) -> list[object]:
    """Ids as they should be read: an oracle of few words."""
    stripped = [name.strip() for name in written]
    if all(re.fullmatch(r"(0|-?[1-9][0-9]*)(\.0+)?", name) for name in stripped):
        return [int(float(name)) for name in stripped]
    return stripped


def expected(table: Written) -> list[tuple[object, object, float]]:
    users, items = (as_ids([row[i] for row in table.rows]) for i in range(2))
    return [(u, i, np.float32(row[2])) for u, i, row in zip(users, items, table.rows, strict=True)]


def outcome(use: Callable[..., Made], *args: object, **options: object) -> tuple[Made | None, str]:
    """Return what is made, or in what line it is refused."""
    try:
        return use(*args, **options), ""
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return None, refusal


def read_or_doubt(path: Path, columns: Columns = COMMON, **options: object) -> Ratings | None:
    """Read; None where the file is refused for a reason that it may well have."""
    ratings, refusal = outcome(read, path, columns, **options)
    assert ratings is not None or any(doubt in refusal for doubt in DOUBTS), refusal
    hypothesis.event(f"refused: {ratings is None}")
    if ratings is not None:
        assert_sound(ratings)
    return ratings


def assert_sound(ratings: Ratings) -> None:
    pairs = set(zip(ratings.user.tolist(), ratings.item.tolist(), strict=True))
    assert len(pairs) == len(ratings.user) == len(ratings.item) == len(ratings.rating) >= 2
    assert np.isfinite(ratings.rating).all()
    assert ratings.low <= ratings.rating.min() <= ratings.rating.max() <= ratings.high
    for index, names in ((ratings.user, ratings.user_ids), (ratings.item, ratings.item_ids)):
        assert len(set(names.tolist())) == len(names) >= 2
        assert set(index.tolist()) == set(range(len(names)))


def in_a_file(content: bytes, name: str, use: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(content)
        use(path)


@fuzzed(
    60, table=tables(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), packing=st.sampled_from(list(PACK))
)
def test_what_a_csv_writer_writes_is_read_back(table: Written, encoding: str, packing: str) -> None:
    def check(path: Path) -> None:
        ratings = read_or_doubt(path, columns_of(table))
        assert ratings is None or triples(ratings) == expected(table)

    in_a_file(PACK[packing](text_of(table).encode(encoding)), f"own.csv{packing}", check)


@fuzzed(50, table=tables(plain=True), top=st.lists(st.sampled_from(["# by hand", "", "  ", "#", "% x"]), max_size=3))
def test_lines_with_any_quotes_are_rows(table: Written, top: list[str]) -> None:
    rows = [row for row in table.rows if not any(set(field) & set(f'{table.separator}"#%') for field in row[:2])]
    table = table._replace(rows=rows, headed=True, order=list(range(4)), names=NAMES[0])
    lines = [table.separator.join(row) for row in ((*table.names, "note"), *table.rows)]

    def check(path: Path) -> None:
        ratings = read_or_doubt(path)
        assert ratings is None or triples(ratings) == expected(table)

    in_a_file(table.end.join([*top, *lines, "", ""]).encode(), "own.csv", check)


@fuzzed(40, table=tables(), blanks=st.lists(st.booleans(), min_size=12, max_size=12))
def test_json_lines_are_read_back(table: Written, blanks: list[bool]) -> None:
    def number(text: str) -> object:
        return float(text)

    lines = []
    for blank, row in zip(blanks, table.rows, strict=False):
        values = dict(zip((*table.names, "note"), (row[0], row[1], number(row[2]), row[3]), strict=True))
        lines += [json.dumps(values), *([""] if blank else [])]

    def check(path: Path) -> None:
        ratings = read_or_doubt(path, Columns(*table.names))
        assert ratings is None or triples(ratings) == expected(table)

    in_a_file("\n".join(lines).encode(), "own.json", check)


@fuzzed(30, table=tables(), duplicates=st.sampled_from(["first", "last", "mean"]), seed=st.integers(0, 99))
def test_repeated_pairs_follow_the_rule(table: Written, duplicates: str, seed: int) -> None:
    chosen = random.Random(seed).choices(table.rows, k=2 * len(table.rows))
    table = table._replace(rows=[(u, i, str(n % 7), "") for n, (u, i, *_) in enumerate(chosen)])
    kept: dict[tuple[object, object], list[float]] = {}
    for user, item, rating in expected(table):
        kept.setdefault((user, item), []).append(float(rating))
    rule = {"first": lambda x: x[0], "last": lambda x: x[-1], "mean": lambda x: np.float32(sum(x) / len(x))}[duplicates]

    def check(path: Path) -> None:
        ratings = read_or_doubt(path, columns_of(table), duplicates=duplicates)
        if ratings is not None:
            assert {(u, i): r for u, i, r in triples(ratings)} == {pair: rule(all_) for pair, all_ in kept.items()}

    in_a_file(text_of(table).encode(), "own.csv", check)


def damaged(content: bytes, seed: int) -> bytes:
    """Flip, cut, double or insert a few bytes."""
    rng, made = random.Random(seed), bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(made) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[at : at + rng.choice([1, 2, 50])]
        elif kind == 2:
            made[at:at] = rng.choice(
                [b'"', b",", b"\n", b"\r", b"\0", b"#", b"\xff", b"::", b"\t", b"{", b'""', b"nan"]
            )
        elif kind == 3:
            made[at:at] = made[at : at + rng.choice([1, 9, 40])]
        else:
            del made[at:]
    return bytes(made)


def healthy() -> dict[str, bytes]:
    text = "user,item,rating,note\n" + "".join(f'{n % 7},{n % 11},{n % 5 + 1},"a, {n}"\n' for n in range(60))
    lines = "".join(json.dumps({"user": n % 7, "item": f"i{n % 11}", "rating": n % 5}) + "\n" for n in range(60))
    archive, parquet = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("deep/own.csv", text)
        file.writestr("README", "hello")
    pl.DataFrame(
        {"user": [n % 7 for n in range(60)], "item": [f"i{n % 11}" for n in range(60)], "rating": range(60)}
    ).write_parquet(parquet)
    packed = {f"own.csv{suffix}": pack(text.encode()) for suffix, pack in PACK.items()}
    tabs, colons = text.split("\n", 1)[1].replace(",", "\t"), text.replace(",", "::")
    others = {"own.json": lines.encode(), "u.data": tabs.encode(), "own.dat": colons.encode()}
    return {**packed, **others, "own.zip": archive.getvalue(), "own.parquet": parquet.getvalue()}


HEALTHY = healthy()


@fuzzed(100, name=st.sampled_from(sorted(HEALTHY)), seed=st.integers(0, 2**32))
def test_damaged_files_are_refused_in_one_line_or_make_sense(name: str, seed: int) -> None:
    def check(path: Path) -> None:
        ratings, _ = outcome(read, path)
        if ratings is not None:
            assert_sound(ratings)

    in_a_file(damaged(HEALTHY[name], seed), name, check)


@fuzzed(40, layout=st.sampled_from(sorted(SMALL_SETS)), seed=st.integers(0, 2**32))
def test_damaged_sets_of_several_files_are_refused_or_make_sense(layout: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, content in SMALL_SETS[layout].items():
            (Path(directory) / name).write_bytes(content.encode("latin-1"))
        victim = Path(directory) / random.Random(seed).choice(sorted(SMALL_SETS[layout]))
        victim.write_bytes(damaged(victim.read_bytes(), seed))
        ratings, _ = outcome(read, directory)
        if ratings is not None:
            assert_sound(ratings)
            assert ratings.item_features is None or np.isfinite(ratings.item_features).all()


@fuzzed(
    50, content=st.binary(max_size=200) | st.text(st.sampled_from('12a,;\t|: "#\n\r.-'), max_size=80).map(str.encode)
)
def test_any_bytes_at_all_are_refused_or_make_sense(content: bytes) -> None:
    def check(path: Path) -> None:
        ratings, _ = outcome(read, path)
        if ratings is not None:
            assert_sound(ratings)
        labelled, _ = outcome(load_labelled, str(path))
        if labelled is not None:
            assert np.isfinite(labelled.features).all()
            assert len(labelled.features) == len(labelled.label)
            assert set(labelled.label.tolist()) == set(range(labelled.num_labels))

    in_a_file(content, "own.csv", check)


flags = st.fixed_dictionaries(
    {},
    optional={
        "user-column": st.sampled_from(["user", "column:1", "column:9", "column:0", "1", "", "no"]) | words,
        "item-column": st.sampled_from(["item", "user", "column:2", "column:1"]) | words,
        "rating-column": st.sampled_from(["rating", "note", "column:3", "column:4"]) | words,
        "duplicates": st.sampled_from(["first", "last", "mean", "error", "all"]),
        "encoding": st.sampled_from(
            ["utf-8", "latin-1", "utf-16", "hex", "idna", "rot13", "undefined", "punycode", "x"]
        )
        | words,
        "implicit": st.none(),
    },
)


@fuzzed(30, name=st.sampled_from(sorted(HEALTHY)), given=flags)
def test_any_flags_describe_a_file_or_are_refused_in_one_line(name: str, given: dict[str, str | None]) -> None:
    def check(path: Path) -> None:
        texts = [f"--{flag}" if value is None else f"--{flag}={value}" for flag, value in given.items()]
        result = call("data", "describe", path, *texts)
        assert result.status in (0, 2), result
        if result.status == 2:
            assert result.err.startswith("jaxbandit: error: ")
            assert result.err.count("\n") == 1, result.err
            assert not result.out

    in_a_file(HEALTHY[name], name, check)
