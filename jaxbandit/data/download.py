"""MovieLens zips from GroupLens into the cache: resumed, checked by md5, kept whole or not at all. It opens no zip."""

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import platformdirs
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jaxbandit._core import locks
from jaxbandit._core.errors import InputError, unknown
from jaxbandit._core.files import mounted, write_bytes
from jaxbandit.data.registry import DATASETS

MOVIELENS_URL = "https://files.grouplens.org/datasets/movielens"  # env JAXBANDIT_MOVIELENS_URL names a mirror
TIMEOUT = 30.0  # seconds without a byte
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry
ELSEWHERE = "JAXBANDIT_DATA"  # variable of the environment: a directory or gs:// place of zips that were fetched
CHUNK = 1 << 18  # bytes
ROOM = "a directory with room, chosen by env JAXBANDIT_CACHE"


def cache_dir() -> Path:
    """Return the directory of what can be computed or downloaded again; it may not exist yet.

    It is env JAXBANDIT_CACHE, or the platform's cache directory.
    """
    return Path(os.environ.get("JAXBANDIT_CACHE") or platformdirs.user_cache_dir("jaxbandit"))


def cached(name: str) -> Path | None:
    """Return the downloaded zip of a data set, or None; one that lies elsewhere is copied.

    Raises:
        InputError: that one is damaged.
    """
    path, other = _zip_path(name), os.environ.get(ELSEWHERE)
    if path.is_file() or not other:
        return path if path.is_file() else None
    there = epath.Path(mounted(f"{other.rstrip('/')}/{name}.zip"))
    if not there.exists():
        return None
    data = there.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != DATASETS[name].md5:
        raise InputError(f"{os.fspath(there)!r} is damaged, its md5 is another: allowed: as `data fetch` gets it")
    write_bytes(path, data)
    return path


def fetch(name: str, *, progress: bool = True) -> Path:
    """Download a MovieLens zip into the cache unless it is there, and return its path.

    What an interruption leaves is kept beside it as `NAME.zip.part` and continued by the next call.

    Raises:
        InputError: the name is unknown or generated; no network, no space, no such file there, or a wrong md5.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    md5 = DATASETS[name].md5
    if md5 is None:
        raise InputError(f"data set {name!r}: is generated, there is nothing to fetch: allowed: {_downloadable()}")
    target = _zip_path(name)
    if target.is_file():
        return target
    base = os.environ.get("JAXBANDIT_MOVIELENS_URL") or MOVIELENS_URL
    url = f"{base.rstrip('/')}/{name}.zip"
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(f"{target}.lock", _say_who):
            if target.is_file():  # another process has just got it
                return target
            with _progress_bar(progress) as bar:
                _persist(url, part, md5, bar)
            part.replace(target)
    except OSError as error:
        raise _refused(target.parent, error) from error
    return target


def _say_who(who: str) -> None:
    Console(stderr=True).print(f"waiting for {who}, which downloads it", highlight=False)


def _persist(url: str, part: Path, md5: str, bar: Progress) -> None:
    """Try until the part is the complete file. One that was resumed and has a wrong md5 is begun anew."""
    failures = 0
    while True:
        resumed = part.exists()
        try:
            _receive(url, part, bar)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            _give_up_if_lasting(url, error, failures)
            time.sleep(PAUSES[failures])
            failures += 1
            continue
        got = _md5(part)
        if got == md5:
            return
        part.unlink()
        if not resumed:
            raise InputError(f"{url}: md5 = {got}: allowed: {md5}; the download is damaged and was removed")


def _give_up_if_lasting(url: str, error: Exception, failures: int) -> None:
    if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
        raise InputError(f"{url}: HTTP status {error.code} ({error.reason}): allowed: 200 or 206") from error
    if failures == len(PAUSES):
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url}: no connection after {failures + 1} attempts ({reason}): allowed: a reachable server; "
            "what has arrived is kept, run the command again to continue"
        ) from error


def _receive(url: str, part: Path, bar: Progress) -> None:
    """Append what is missing to the part, or write it from the start where the server ignores ranges.

    Raises:
        ConnectionError: the connection ended early.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the md5 decides
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _check_space(part, int(length or 0))
        task = bar.add_task(url.rsplit("/", 1)[-1], total=total, completed=have)
        with part.open("ab" if have else "wb") as out:
            while chunk := response.read(CHUNK):
                out.write(chunk)
                bar.advance(task, len(chunk))
        bar.remove_task(task)
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"ended after {part.stat().st_size:,} of {total:,} bytes")


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are needed, {free:,} are free")


def _refused(directory: Path, error: OSError) -> InputError:
    if error.errno == errno.ENOSPC:
        return InputError(f"cache {str(directory)!r}: no space left ({error.strerror}): allowed: {ROOM}")
    return InputError(f"cache {str(directory)!r}: cannot be written ({error.strerror or error}): allowed: {ROOM}")


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        # A check against damage, with what GroupLens publishes; not a defence.
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _zip_path(name: str) -> Path:
    return cache_dir() / "movielens" / f"{name}.zip"


def _downloadable() -> str:
    return ", ".join(name for name, dataset in DATASETS.items() if dataset.downloadable)


def _progress_bar(shown: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True)
