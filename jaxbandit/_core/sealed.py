"""Files of ours that a later command reads: JSON that carries its digest, and the digests of files beside it.

`write` adds the entry `sha256`, the digest of all others; `read` compares it. The entry `files` of such a JSON file
names the files beside it with their digests, and is written after them: a file that is not named there does not count.
What people edit, as best.json, is read by `read_edited`. What the entries mean is not known in this module.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import json_bytes, write_bytes

DIGEST, FILES = "sha256", "files"
DEEPEST = 50


def write(path: epath.PathLike, content: Mapping[str, Any]) -> None:
    """Write a whole file of JSON with its digest.

    Raises:
        InputError: the path cannot be written.
    """
    write_bytes(path, sealed(content))


def sealed(content: Mapping[str, Any]) -> bytes:
    """JSON of an object with its digest."""
    return json_bytes({**content, DIGEST: _digest_of(content)})


def read(path: epath.PathLike, way_out: str, *, always: bool = False) -> dict[str, Any]:
    """Read JSON that `write` wrote, without the entry of its digest.

    A file of an older jaxbandit has no digest: it is taken as it is, and a warning says so, unless this kind of file
    `always` had one.

    Raises:
        InputError: it cannot be read, or is not what was written; `way_out` says what to do.
    """
    return read_bytes(_bytes(epath.Path(path), way_out), path, way_out, always=always)


def read_bytes(data: bytes, path: epath.PathLike, way_out: str, *, always: bool = False) -> dict[str, Any]:
    """Read what `write` wrote to a path from which it has been fetched already; see `read`."""
    content = _parsed(data, path, way_out)
    kept = content.pop(DIGEST, None)
    if kept is None and not always:
        _warn(os.fspath(path))
    elif kept != _digest_of(content):
        raise changed(path, way_out)
    return content


def read_edited(path: epath.PathLike, way_out: str) -> dict[str, Any]:
    """Read a JSON object that a person may have edited; a digest in it is dropped.

    Raises:
        InputError: it cannot be read, or is no JSON object.
    """
    content = _parsed(_bytes(epath.Path(path), way_out), path, way_out)
    content.pop(DIGEST, None)
    return content


def read_beside(path: epath.PathLike, digests: Mapping[str, str] | None, way_out: str) -> bytes:
    """Read a file whose digest a JSON file beside it holds; None: that is of an older jaxbandit, which held none.

    Raises:
        InputError: it cannot be read, or is not what was written.
    """
    path = epath.Path(path)
    data = _bytes(path, way_out)
    if digests is not None and digests.get(path.name) != digest(data):
        raise changed(path, way_out)
    return data


def digest(data: bytes) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digests(directory: epath.Path, names: Iterable[str]) -> dict[str, str]:
    """Digests of the files of these names that are there."""
    there = (directory / name for name in names)
    return {path.name: digest(path.read_bytes()) for path in there if path.exists()}


def changed(path: epath.PathLike, way_out: str) -> InputError:
    """Build the error for a file that is not what was written."""
    return InputError(f"{os.fspath(path)!r} is damaged or was changed: its digest is another; {way_out}")


def _bytes(path: epath.Path, way_out: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(path)!r} cannot be read: {error.strerror or error}; {way_out}") from None


def _parsed(data: bytes, path: epath.PathLike, way_out: str) -> dict[str, Any]:
    try:
        content = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise InputError(f"{os.fspath(path)!r} cannot be read: nested too deeply; {way_out}") from None
    except ValueError as error:
        raise InputError(f"{os.fspath(path)!r} cannot be read: no JSON ({error}); {way_out}") from None
    if not isinstance(content, dict):
        raise InputError(f"{os.fspath(path)!r} is no JSON object; {way_out}")
    if _is_deep(content):
        raise InputError(f"{os.fspath(path)!r} cannot be read: nested too deeply; {way_out}")
    return content


def _is_deep(content: object) -> bool:
    """Whether objects and lists are nested so deeply that code for them could run out of stack."""
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        level = [
            x for one in level for x in (one.values() if isinstance(one, dict) else one) if isinstance(x, dict | list)
        ]
        if not level:
            return False
    return True


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _digest_of(content: Mapping[str, Any]) -> str:
    """Digest of what an object says, however its JSON is laid out."""
    return digest(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


@cache
def _warn(path: str) -> None:
    print(
        f"jaxbandit: warning: {path!r} has no digest, as an older jaxbandit wrote it: damage to it would not be seen",
        file=sys.stderr,
    )
