import http.server
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import DATASETS, cached, download, fetch, load
from tests.data.small_sets import md5, write_zip


class Mirror(http.server.ThreadingHTTPServer):
    """A GroupLens on loopback with faults to choose."""

    content = b""
    ranges = True  # whether it understands Range
    cut_after: int | None = None  # bytes after which it hangs up
    cuts = 0  # how often it still hangs up
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str | None] = []


class Answer(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        wanted = self.headers["Range"]
        mirror.asked.append(wanted)
        if mirror.status or not self.path.endswith("/ml-100k.zip"):
            return self.send_error(mirror.status or 404)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mirror.ranges else 0
        if start >= len(mirror.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        body = mirror.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mirror.cuts and mirror.cut_after is not None:
            mirror.cuts -= 1
            body = body[: mirror.cut_after]
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    zip_path = write_zip("ml-100k", tmp_path / "served.zip")
    entry = DATASETS["ml-100k"]._replace(md5=md5(zip_path))
    monkeypatch.setitem(DATASETS, "ml-100k", entry)
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    server = Mirror()
    server.content = zip_path.read_bytes()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAXBANDIT_MOVIELENS_URL", f"http://127.0.0.1:{server.server_address[1]}/sets")
    yield server
    server.shutdown()
    server.server_close()


def test_of_five_that_fetch_at_once_one_downloads_and_all_have_it(mirror, tmp_path, monkeypatch) -> None:
    fetching = [pool.submit(fetch, "ml-100k", progress=False) for pool in [ThreadPoolExecutor(5)] for _ in range(5)]
    paths = {one.result(timeout=60) for one in fetching}
    assert [path.read_bytes() for path in paths] == [mirror.content]
    assert mirror.asked == [None]
    assert left_over(tmp_path) == ["ml-100k.zip"]


def left_over(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_a_download_is_kept_and_not_repeated(mirror: Mirror, tmp_path: Path) -> None:
    path = fetch("ml-100k", progress=False)
    assert path == fetch("ml-100k", progress=False) == cached("ml-100k")
    assert path.read_bytes() == mirror.content
    assert mirror.asked == [None]
    assert left_over(tmp_path) == ["ml-100k.zip"]
    assert load("ml-100k").num_users == 2


def test_a_connection_that_breaks_is_resumed_where_it_broke(mirror: Mirror) -> None:
    mirror.cut_after, mirror.cuts = 100, 2
    assert fetch("ml-100k", progress=False).read_bytes() == mirror.content
    assert mirror.asked == [None, "bytes=100-", "bytes=200-"]


def test_an_interrupted_download_is_resumed_by_the_next_call(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut_after, mirror.cuts = 50, 3
    with pytest.raises(InputError, match=r"no connection after 3 attempts \(ended after 150 of"):
        fetch("ml-100k", progress=False)
    assert left_over(tmp_path) == ["ml-100k.zip.part"]
    assert cached("ml-100k") is None
    assert fetch("ml-100k", progress=False).read_bytes() == mirror.content
    assert mirror.asked[-1] == "bytes=150-"


def test_a_server_that_ignores_ranges_is_read_from_the_start(mirror: Mirror) -> None:
    mirror.ranges = False
    mirror.cut_after, mirror.cuts = 100, 1
    assert fetch("ml-100k", progress=False).read_bytes() == mirror.content
    assert mirror.asked == [None, "bytes=100-"]


def test_a_wrong_md5_is_refused_and_nothing_is_left(mirror: Mirror, tmp_path: Path) -> None:
    mirror.content = mirror.content[:-1] + b"!"
    with pytest.raises(InputError, match=r"md5 = [0-9a-f]{32}: allowed: [0-9a-f]{32}"):
        fetch("ml-100k", progress=False)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("stale", [b"of another file", b"x" * 100_000])
def test_a_stale_part_is_thrown_away_and_begun_anew(stale: bytes, mirror: Mirror, tmp_path: Path) -> None:
    part = tmp_path / "cache" / "movielens" / "ml-100k.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(stale)
    assert fetch("ml-100k", progress=False).read_bytes() == mirror.content


def test_a_part_that_was_complete_is_taken(mirror: Mirror, tmp_path: Path) -> None:
    part = tmp_path / "cache" / "movielens" / "ml-100k.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(mirror.content)
    assert fetch("ml-100k", progress=False).read_bytes() == mirror.content
    assert len(mirror.asked) == 1


def test_no_space_is_refused_before_anything_is_written(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"no space left .* 10 are free.*allowed: "):
        fetch("ml-100k", progress=False)
    assert left_over(tmp_path) == []


def test_a_missing_file_fails_at_once_and_a_sick_server_after_retries(mirror: Mirror) -> None:
    mirror.status = 404
    with pytest.raises(InputError, match="HTTP status 404"):
        fetch("ml-100k", progress=False)
    assert len(mirror.asked) == 1
    mirror.status = 503
    with pytest.raises(InputError, match="no connection after 3 attempts"):
        fetch("ml-100k", progress=False)


def test_no_network_an_unwritable_cache_and_wrong_names_are_refused(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is generated, there is nothing to fetch: allowed: ml-100k"):
        fetch("synth-100k")
    with pytest.raises(InputError, match=r"unknown data set 'ml-100'"):
        fetch("ml-100")
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be written"):
        fetch("ml-100k")
    monkeypatch.setenv("JAXBANDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAXBANDIT_MOVIELENS_URL", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match=r"no connection after 3 attempts .*refused"):
        fetch("ml-100k", progress=False)
