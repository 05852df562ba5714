"""Pipes, packed files, and files that are no tables at all."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxbandit._core import host, network
from jaxbandit._core.errors import InputError
from jaxbandit.data import load, load_labelled, read, streams
from jaxbandit.experiments.config import read_config
from tests.data.small_sets import triples, write_directory

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TABLE = b"user,item,rating\n" + b"".join(b"%d,%d,%d\n" % (n // 50, n % 50, n % 5) for n in range(2_000))
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress,
}  # fmt: skip
each_packing = pytest.mark.parametrize("packing", PACK)


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def through_pipe(content: bytes) -> int:
    """Read through /dev/fd, as a shell's <(cat FILE) is; return the number of ratings."""
    ours, theirs = os.pipe()

    def write() -> None:
        with os.fdopen(theirs, "wb") as pipe:
            pipe.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return len(read(f"/dev/fd/{ours}").rating)
    finally:
        os.close(ours)
        writer.join()


@pytest.mark.parametrize("pack", [bytes, *PACK.values()], ids=["plain", *PACK])
def test_a_pipe_gives_all_of_its_rows(pack: Callable[[bytes], bytes]) -> None:
    assert through_pipe(pack(TABLE)) == 2_000


def test_a_zip_comes_through_a_pipe_and_an_empty_pipe_is_an_empty_file() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("own.csv", TABLE)
    assert through_pipe(archive.getvalue()) == 2_000
    with pytest.raises(InputError, match="empty file"):
        through_pipe(b"")


def test_standard_input_is_read_whole() -> None:
    program = "from jaxbandit.data import read; print(len(read('/dev/stdin').rating))"
    done = subprocess.run([sys.executable, "-c", program], input=TABLE, capture_output=True, check=True)
    assert done.stdout == b"2000\n"


def test_a_pipe_without_a_writer_is_refused_after_a_while(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    assert "nobody writes into this pipe" in refusal(tmp_path / "pipe")


@each_packing
def test_packed_tables_are_read_under_their_own_name(packing: str, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(TABLE)
    (tmp_path / f"packed.csv.{packing}").write_bytes(PACK[packing](TABLE))
    packed = read(tmp_path / f"packed.csv.{packing}")
    assert packed.name == "packed"
    assert triples(packed) == triples(read(tmp_path / "own.csv"))


@each_packing
def test_a_packed_table_that_is_cut_or_damaged_is_refused(packing: str, tmp_path: Path) -> None:
    path, whole = tmp_path / f"own.csv.{packing}", PACK[packing](TABLE)
    for content in (whole[: len(whole) // 2], whole[:9], whole[:40] + bytes(20) + whole[60:]):
        path.write_bytes(content)
        assert "truncated or corrupt" in refusal(path)


def test_a_packed_file_in_a_directory_and_in_a_zip_counts_as_what_it_holds(tmp_path: Path) -> None:
    directory = write_directory("ml-25m", tmp_path)
    plain = read(directory)
    for name in ("ratings.csv", "movies.csv"):
        (directory / f"{name}.gz").write_bytes(gzip.compress((directory / name).read_bytes()))
        (directory / name).unlink()
    assert triples(read(directory)) == triples(plain)
    assert read(directory).item_feature_names == plain.item_feature_names
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("deep/own.csv.gz", gzip.compress(TABLE))
    assert len(read(tmp_path / "own.zip").rating) == 2_000


def test_what_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(streams, "ALWAYS", 1 << 20)
    monkeypatch.setattr("jaxbandit.data.files.ALWAYS", 1 << 20)
    bomb = b"1,1,1\n" * 500_000
    with zipfile.ZipFile(tmp_path / "own.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("own.csv", bomb)
    (tmp_path / "own.csv.bz2").write_bytes(bz2.compress(bomb))
    for name in ("own.zip", "own.csv.bz2"):
        assert "own.csv: more than 0.00" in refusal(tmp_path / name).replace(".bz2", "")


def test_more_than_the_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "memory_bytes", lambda: 20_000)
    (tmp_path / "own.csv").write_bytes(TABLE)
    assert "own.csv: more than" in refusal(tmp_path / "own.csv")
    assert "binary content" in refusal("/dev/zero")


@pytest.mark.parametrize("path", ["s3://b/x.csv", "az://b/x", "https://h/x.csv", "ftp://h/x.csv", "hdfs://h/x.csv"])
def test_places_that_are_not_supported_are_refused_at_once(path: str) -> None:
    for place in (path, f"{path}/deep/own.csv"):
        assert f"{place!r} lies elsewhere; allowed: a path of this machine, or gs://" in refusal(place)
    with pytest.raises(InputError, match="lies elsewhere"):
        load_labelled(path)


def test_a_bucket_without_network_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in network.DETOURS:
        monkeypatch.delenv(name, raising=False)
    network.check_storage.cache_clear()
    monkeypatch.setattr(network, "STORAGE", ("storage.invalid", 443))
    for what in (load, load_labelled, read_config):
        with pytest.raises(InputError, match=r"gs:// is out of reach: storage\.invalid does not answer"):
            what("gs://bucket/own.csv")


@pytest.mark.parametrize("cut", [slice(10, None), slice(200, None), slice(None, -30), slice(4, 400)])
def test_a_zip_cut_anywhere_is_refused(cut: slice, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("own.csv", TABLE)
        file.writestr("README", "x" * 300)
    (tmp_path / "own.zip").write_bytes(archive.getvalue()[cut])
    assert "truncated or corrupt zip" in refusal(tmp_path / "own.zip")
