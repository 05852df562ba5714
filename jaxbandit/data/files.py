"""A zip, a directory, a pipe or one file of ratings, local or gs://, behind one interface. It parses nothing."""

import errno
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted
from jaxbandit.data import streams
from jaxbandit.data.streams import ALWAYS, MOST_FOLD, File, open_bytes, read_unpacked, too_large, without_packing

ALLOWED = "a zip, a directory, or one CSV, TSV, '::', JSON lines or Parquet file, also as gz, bz2, xz or zst"
KNOWN_RATINGS = ("u.data", "ratings.dat", "ratings.csv")
TABLE_SUFFIXES = (".csv", ".tsv", ".dat", ".data", ".txt", ".parquet", ".json", ".jsonl", ".ndjson")
PART = "part-"  # so Spark and Hadoop begin the names of the parts of one table
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OSError)
Read: TypeAlias = Callable[[], bytes]
Open: TypeAlias = Callable[[], File]


class Source(NamedTuple):
    """Files that belong together by their paths within a directory or a zip, and how to get the bytes of each."""

    path: str
    files: Mapping[str, Read]
    single: bool = False  # one file, of whatever name

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the files."""
        return tuple(self.files)

    @property
    def stem(self) -> str:
        """Name of the zip, directory or file without its extensions."""
        return epath.Path(without_packing(self.path)).stem

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return self.files[name]()


def open_source(path: str | os.PathLike[str]) -> Source:
    """List the files at a path; of a zip, only its directory is read. ZIP/MEMBER is a file of a zip.

    Raises:
        InputError: nothing is there, it cannot be read, or it is an incomplete zip.
    """
    location = epath.Path(mounted(os.fspath(path))).expanduser()
    try:
        if location.is_dir():
            return _directory(location)
        if not location.exists():
            return _member(location, str(path))
        return _file(location)
    except (OSError, ValueError) as error:  # of a name with a NUL byte, too
        if isinstance(error, InputError):
            raise
        raise unreadable(str(path), error) from error


def ratings_files(source: Source) -> tuple[Source, tuple[str, ...]]:
    """Choose the ratings: the file with MovieLens's name for it, or all parts of Spark's, or else the only table.

    The source that comes with it holds the files of the same folder alone, by their base names.

    Raises:
        InputError: there is no table, or there are several and nothing says which.
    """
    if source.single:
        return source, source.names
    known = [name for name in source.names if _base(name) in KNOWN_RATINGS]
    tables = [name for name in source.names if _is_table(_base(name))]
    chosen = _uppermost(known) or _uppermost(tables)
    folders = {_folder(name) for name in chosen}
    parts = all(_base(name).startswith(PART) for name in tables)
    if not chosen or len(folders) > 1 or (not known and len(chosen) > 1 and not parts):
        raise _undecided(source, chosen)
    folder = folders.pop()
    if parts and len(tables) > len(chosen):
        raise _undecided(source, tables)  # in subfolders: a partitioned table, whose columns are names of folders
    beside = {_base(name): read for name, read in source.files.items() if _folder(name) == folder}
    names = sorted(map(_base, chosen), key=lambda name: KNOWN_RATINGS.index(name) if known else name)
    return source._replace(files=beside), tuple(names[:1] if known else names)


def unreadable(path: str, error: Exception) -> InputError:
    """Build the error for a path that the system refuses to read."""
    number, words = getattr(error, "errno", None), getattr(error, "strerror", None)
    reason = "permission denied" if number == errno.EACCES else " ".join((words or str(error)).lower().split())
    return InputError(f"ratings {path!r}: cannot be read ({reason}): allowed: {ALLOWED}")


def _undecided(source: Source, tables: Iterable[str]) -> InputError:
    shown = ", ".join(sorted(tables)[:5])
    problem = f"several tables ({shown})" if shown else "no ratings file"
    return InputError(
        f"ratings {source.path!r}: {problem}: allowed: {', '.join(KNOWN_RATINGS)}, or a single table; "
        f"{os.path.basename(source.path)}/FILE names one"
    )


def _is_table(name: str) -> bool:
    return name.lower().endswith(TABLE_SUFFIXES) or name.startswith(PART)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _uppermost(names: list[str]) -> list[str]:
    """Keep the paths of the fewest folders: extracted archives often sit one folder deeper."""
    least = min((name.count("/") for name in names), default=0)
    return [name for name in names if name.count("/") == least]


def _plain(names: Iterable[str]) -> dict[str, str]:
    """Names without packing and hidden files -> names. A plain file wins over a packed one."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (name != without_packing(name), name)):
        if not any(part.startswith((".", "_")) for part in name.split("/")):
            found.setdefault(without_packing(name), name)
    return found


def _directory(location: epath.Path) -> Source:
    children = sorted(location.iterdir())
    nested = (grandchild for child in children if child.is_dir() for grandchild in sorted(child.iterdir()))
    files = {str(file.relative_to(location)): file for file in (*children, *nested) if not file.is_dir()}
    return Source(str(location), {plain: partial(_bytes, files[name]) for plain, name in _plain(files).items()})


def _file(location: epath.Path, member: str | None = None) -> Source:
    reopen = _openable(location)
    with reopen() as file:
        is_zip = file.read(4) == b"PK\x03\x04" or location.suffix.lower() == ".zip"
    if not is_zip and member is None:
        name = without_packing(location.name)
        return Source(str(location), {name: partial(_unpacked, reopen, name)}, single=True)
    source = _zip(location, reopen)
    if member is None:
        return source
    only = without_packing(member)
    if only not in source.files:
        raise InputError(f"ratings {str(location)!r}: has no {member!r}: allowed: {', '.join(source.names[:20])}")
    return Source(f"{location}/{only}", {_base(only): source.files[only]}, single=True)


def _openable(location: epath.Path) -> Open:
    """Return what opens a file again and again; what comes from a pipe or a bucket is kept in memory."""
    file = open_bytes(location)
    if isinstance(file, io.BytesIO):
        content = file.getvalue()
        return lambda: io.BytesIO(content)
    file.close()
    return partial(open_bytes, location)


def _unpacked(reopen: Open, name: str) -> bytes:
    with reopen() as file:
        return read_unpacked(file, name)


def _member(location: epath.Path, path: str) -> Source:
    """Open a file of a zip that is named like a folder."""
    for parent in location.parents:
        if parent.exists() and not parent.is_dir():
            return _file(parent, location.relative_to(parent).as_posix())
    raise InputError(f"ratings {path!r}: no such file or directory: allowed: {ALLOWED}")


def _zip(location: epath.Path, reopen: Open) -> Source:
    try:
        with reopen() as file, zipfile.ZipFile(file) as archive:
            members = _plain(name for name in archive.namelist() if not name.endswith("/"))
    except DAMAGE as error:
        raise _broken_zip(location, error) from error
    return Source(str(location), {plain: partial(_extract, location, reopen, name) for plain, name in members.items()})


def _extract(location: epath.Path, reopen: Open, name: str) -> bytes:
    try:
        with reopen() as file, zipfile.ZipFile(file) as archive:
            info = archive.getinfo(name)
            most = min(streams.most_bytes(), max(ALWAYS, MOST_FOLD * info.compress_size))
            if info.file_size > most:
                raise too_large(name, most)
            content = archive.read(info)
    except InputError:
        raise
    except DAMAGE as error:
        raise _broken_zip(location, error, name) from error
    return read_unpacked(io.BytesIO(content), _base(name))


def _broken_zip(location: epath.Path, error: Exception, name: str = "") -> InputError:
    reason = " ".join(f"{name} {error}".split()) or type(error).__name__
    return InputError(f"ratings {str(location)!r}: truncated or corrupt zip ({reason}): allowed: a complete zip")


def _bytes(location: epath.Path) -> bytes:
    try:
        return _unpacked(partial(open_bytes, location), location.name)
    except OSError as error:
        raise unreadable(str(location), error) from error
