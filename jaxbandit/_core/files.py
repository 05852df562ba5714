"""Files on local disks and in buckets: written whole or not at all, and found under a mount of the bucket."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

from etils import epath

from jaxbandit._core.errors import InputError

MOUNT = "JAXBANDIT_GCS_MOUNT"
SCHEME = "gs://"


def mounted(path: str) -> str:
    """Turn gs://bucket/x into the path where that bucket is mounted; other paths, and of other buckets, stay."""
    if not path.startswith(SCHEME):
        return path
    bucket, slash, name = path.removeprefix(SCHEME).partition("/")
    directory = os.path.join(_mount(), bucket)
    if not bucket.strip(".") or not os.path.isdir(directory):
        return path
    return directory + slash + name


def in_bucket(path: str) -> bool:
    """Whether a path is that of a bucket, or lies under the mount: there a file is an object, written as a whole."""
    return path.startswith(SCHEME) or os.path.abspath(path).startswith(os.path.join(os.path.abspath(_mount()), ""))


def _mount() -> str:
    return os.environ.get(MOUNT, "/gcs")


@contextlib.contextmanager
def writing(path: epath.PathLike) -> Iterator[None]:
    """Turn an OSError of the block (no space left, read-only) into the InputError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
        raise InputError(f"cannot write {os.fspath(path)!r}: {reason}") from error


def write_bytes(path: epath.PathLike, data: bytes) -> None:
    """Put `data` at `path`, wholly or not at all: a failure or a kill leaves what was there. Makes missing folders.

    Raises:
        InputError: the path cannot be written.
    """
    target = epath.Path(path)
    # A name of its own, so that two writers of one path never mix their bytes.
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                if "://" not in os.fspath(target):  # an object store has a file no sooner than it is complete
                    os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_json(path: epath.PathLike, content: Any) -> None:
    """Write `content` as strict, indented JSON.

    Raises:
        InputError: the path cannot be written.
        ValueError: there is a NaN or an infinity in it, which JSON does not have.
    """
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())
