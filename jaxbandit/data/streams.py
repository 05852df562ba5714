"""A path -> its bytes: of a file or a pipe, unpacked where they are compressed, and never more than memory holds.

It knows nothing of archives and tables.
"""

import bz2
import gzip
import io
import lzma
import os
import select
import stat
import sys
import time
import zlib
from collections.abc import Callable
from typing import TypeAlias

from etils import epath

from jaxbandit._core import host
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

File: TypeAlias = io.BufferedReader | io.BytesIO
BLOCK = 1 << 24  # bytes
MEMORY_SHARE = 0.25  # of a machine's memory, for the bytes of one file; what is made of them needs as much again
MOST_FOLD = 200  # a packed table unpacks to some ten times its size; what unpacks to more than this is no table
ALWAYS = 1 << 26  # bytes that anything may unpack to
PATIENCE = 10.0  # seconds until somebody opens the other end of a named pipe
PACKED: dict[bytes, Callable[[File], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": ZstdFile,
}
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, ZstdError)


def without_packing(name: str) -> str:
    """Return the name that a file has once it is unpacked."""
    return name.rpartition(".")[0] if name.lower().endswith(SUFFIXES) else name


def open_bytes(path: epath.Path) -> File:
    """Open a file that can be sought; of a pipe everything is read first.

    Raises:
        OSError: the system refuses.
        InputError: more bytes than fit, no text at all, or a named pipe into which nobody writes.
    """
    name = os.fspath(path)
    if "://" in name:
        return io.BytesIO(path.read_bytes())
    mode = os.stat(name).st_mode
    if stat.S_ISREG(mode):
        return open(name, "rb")
    if stat.S_ISFIFO(mode):
        return io.BytesIO(_read_pipe(name))
    with open(name, "rb") as file:  # a device, which may have no end
        start = file.read(1 << 12)
        if b"\0" in start:
            raise InputError(f"{name}: binary content: allowed: a table")
        return io.BytesIO(_bounded(file, name, most_bytes(), start))


def read_whole(what: str, path: str, way_out: str = "") -> bytes:
    """Open a file by the path that a user gave and read it, unpacked; the error names it as `what`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open_bytes(epath.Path(mounted(path)).expanduser()) as file:
            return read_unpacked(file, path)
    except (OSError, ValueError) as error:  # of a name with a NUL byte, too
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{what} {path!r} cannot be read ({reason}){way_out}") from None


def read_unpacked(file: File, name: str) -> bytes:
    """Read a file to its end, unpacked where it is gz, bz2, xz or zst.

    Raises:
        InputError: it is cut short or corrupt, or unpacks to more than fits or makes sense.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    opened = next((unpack for magic, unpack in PACKED.items() if head.startswith(magic)), None)
    if opened is None:
        return _bounded(file, name, most_bytes())
    most = min(most_bytes(), max(ALWAYS, MOST_FOLD * size))
    try:
        with opened(file) as unpacked:
            return _bounded(unpacked, name, most)
    except InputError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: truncated or corrupt ({reason}): allowed: a complete gz, bz2, xz or zst") from error


def most_bytes() -> int:
    """How many bytes of one file are read at most."""
    return int(MEMORY_SHARE * host.memory_bytes())


def too_large(name: str, most: int) -> InputError:
    """Build the error for a file that does not fit."""
    return InputError(f"{name}: more than {most / 1e9:.2g} GB: allowed: less; keep the columns that are needed")


def _bounded(file: io.BufferedIOBase, name: str, most: int, start: bytes = b"") -> bytes:
    blocks, size = [start], len(start)
    while block := file.read(BLOCK):
        blocks.append(block)
        size += len(block)
        if size > most:
            raise too_large(name, most)
    return blocks[1] if len(blocks) == 2 and not start else b"".join(blocks)


def _read_pipe(name: str) -> bytes:
    """Read a pipe to its end, once there is somebody at the other one."""
    number = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(number, "rb") as file:
        start, gone, late = b"", select.poll(), time.monotonic() + PATIENCE
        gone.register(number, select.POLLIN)
        while not start and time.monotonic() < late:
            try:
                start = os.read(number, 1 << 16)
            except BlockingIOError:  # a writer is there, and has not written yet
                break
            if not start and any(event & select.POLLHUP for _, event in gone.poll(50)):
                return b""  # a writer came and went
        else:
            if not start:
                raise InputError(f"{name}: nobody writes into this pipe: allowed: a pipe with a writer, or a file")
        os.set_blocking(number, True)
        return _bounded(file, name, most_bytes(), start)
