"""Bytes of a text file -> UTF-8 with LF at the ends of its lines, and where those are. It knows no columns."""

import codecs

import numpy as np

from jaxbandit._core.errors import InputError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, which is its first half
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF32_BE: "utf-32",
}
END_OF_FILE = b"\x1a"  # of DOS
BLOCK = 1 << 26  # bytes looked through at a time


def check_encoding(name: str) -> None:
    """Refuse what names no encoding of text.

    Raises:
        InputError: Python knows none of that name.
    """
    try:
        b"".decode(name)
        "".encode(name)
    except (LookupError, ValueError):
        raise InputError(f"encoding is {name!r}; allowed: one of Python's, as utf-8, latin-1, cp1252, utf-16") from None


def utf8_lines(file: str, raw: bytes, encoding: str | None) -> bytes:
    """Return the text in UTF-8 without a byte order mark, with LF or CRLF at the ends of lines.

    Raises:
        InputError: the bytes are no text, or not in the encoding.
    """
    marked = next((name for mark, name in MARKS.items() if raw.startswith(mark)), None)
    if encoding is not None or marked not in (None, "utf-8-sig"):
        raw = _recoded(file, raw, encoding or str(marked))
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if b"\0" in raw:
        raise InputError(
            f"{file}: binary content: allowed: CSV, TSV, '::', JSON lines or Parquet, or a zip of these; --encoding "
            "utf-16 where that is what it is"
        )
    if b"\n" not in raw and b"\r" in raw:
        raw = raw.replace(b"\r", b"\n")
    return raw.rstrip(b"\r\n" + END_OF_FILE) if raw.endswith((b"\n\n", b"\n\r\n", b"\r", END_OF_FILE)) else raw


def _recoded(file: str, raw: bytes, encoding: str) -> bytes:
    try:
        return raw.decode(encoding).encode()
    except ValueError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        row = raw.count(b"\n", 0, start) + 1
        raise InputError(f"{file}, row {row}: is not {encoding}: allowed: the right --encoding") from None


def places_of(raw: bytes, byte: bytes) -> np.ndarray:
    """Return the places [n] of a byte, in order."""
    view = np.frombuffer(raw, np.uint8)
    blocks = [np.flatnonzero(view[at : at + BLOCK] == byte[0]) + at for at in range(0, len(view), BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.int64)
