"""A zip, a directory or one file of ratings, local or gs://, behind one interface. It parses nothing."""

import errno
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted

ALLOWED = "a zip, a directory, or one CSV, TSV, '::' or Parquet file"
KNOWN_RATINGS = ("u.data", "ratings.dat", "ratings.csv")
TABLE_SUFFIXES = (".csv", ".tsv", ".dat", ".data", ".txt", ".parquet")


class Source(NamedTuple):
    """Named files that belong together, and how to get the bytes of one of them."""

    path: str
    names: tuple[str, ...]  # base names
    read: Callable[[str], bytes]

    @property
    def stem(self) -> str:
        """Name of the zip, directory or file without its extension."""
        return epath.Path(self.path).stem


def open_source(path: str | os.PathLike[str]) -> Source:
    """List the files at a path; of a zip, only its directory is read.

    Raises:
        InputError: nothing is there, it cannot be read, or it is an incomplete zip.
    """
    location = epath.Path(mounted(os.fspath(path))).expanduser()
    try:
        if location.is_dir():
            return _directory(location)
        if not location.exists():
            raise InputError(f"ratings {str(path)!r}: no such file or directory: allowed: {ALLOWED}")
        if location.suffix.lower() == ".zip" or _starts_like_zip(location):
            return _zip(location)
    except OSError as error:
        raise unreadable(str(path), error) from error
    return Source(str(location), (location.name,), lambda _: _bytes(location))


def ratings_file(source: Source) -> str:
    """Choose the file that holds the ratings: MovieLens's name for it, or else the only table there.

    Raises:
        InputError: there is no table, or there are several and none has a known name.
    """
    if len(source.names) == 1 and not source.path.lower().endswith(".zip"):
        return source.names[0]
    for known in KNOWN_RATINGS:
        if known in source.names:
            return known
    tables = sorted(name for name in source.names if name.lower().endswith(TABLE_SUFFIXES))
    if len(tables) == 1:
        return tables[0]
    problem = f"several tables ({', '.join(tables[:5])})" if tables else "no ratings file"
    raise InputError(f"ratings {source.path!r}: {problem}: allowed: {', '.join(KNOWN_RATINGS)}, or a single table")


def unreadable(path: str, error: OSError) -> InputError:
    """Build the error for a path that the system refuses to read."""
    reason = "permission denied" if error.errno == errno.EACCES else (error.strerror or str(error)).lower()
    return InputError(f"ratings {path!r}: cannot be read ({reason}): allowed: {ALLOWED}")


def _directory(location: epath.Path) -> Source:
    files: dict[str, epath.Path] = {}
    children = sorted(location.iterdir())
    # Extracted archives often sit one folder deeper; the upper level wins.
    nested = (grandchild for child in children if child.is_dir() for grandchild in sorted(child.iterdir()))
    for file in (*children, *nested):
        if not file.is_dir():
            files.setdefault(file.name, file)
    return Source(str(location), tuple(files), lambda name: _bytes(files[name]))


def _zip(location: epath.Path) -> Source:
    try:
        with location.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = _members(archive.namelist())
    except zipfile.BadZipFile as error:
        raise _broken_zip(location, str(error)) from error

    def read(name: str) -> bytes:
        try:
            with location.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                return archive.read(members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise _broken_zip(location, f"{name}: {error}") from error

    return Source(str(location), tuple(members), read)


def _members(paths: Iterable[str]) -> dict[str, str]:
    members: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: path.count("/")):
        if not path.endswith("/") and not path.startswith("__MACOSX"):  # the latter holds shadows of the real files
            members.setdefault(path.rsplit("/", 1)[-1], path)
    return members


def _broken_zip(location: epath.Path, reason: str) -> InputError:
    return InputError(f"ratings {str(location)!r}: truncated or corrupt zip ({reason}): allowed: a complete zip")


def _starts_like_zip(location: epath.Path) -> bool:
    with location.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _bytes(location: epath.Path) -> bytes:
    try:
        return location.read_bytes()
    except OSError as error:
        raise unreadable(str(location), error) from error
