"""Files on local disks and in buckets: where a bucket is mounted, and writes that are whole or do nothing.

A path may begin with gs://. Where the bucket is mounted, as Vertex AI does it under /gcs, its files are read and
written there. What a file holds is not known in this module.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping

from etils import epath

from jaxbandit._core.errors import InputError
from jaxbandit._core.network import check_storage

MOUNT = "JAXBANDIT_GCS_MOUNT"  # variable of the environment: the directory that holds the mounted buckets
SCHEME = "gs://"
FOREIGN = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")  # of places that are not read or written: s3, az, https, hdfs


def mounted(path: str) -> str:
    """Return the path of gs://bucket/x under the mount; a bucket that is not mounted, and any local path, is kept.

    Raises:
        InputError: a path of another scheme, or one in a bucket while there is no network.
    """
    if not path.startswith(SCHEME):
        if FOREIGN.match(path):
            raise InputError(f"{path!r} lies elsewhere; allowed: a path of this machine, or gs://BUCKET/PATH")
        return path
    bucket, slash, name = path.removeprefix(SCHEME).partition("/")
    directory = os.path.join(_mount(), bucket)
    if not bucket.strip(".") or not os.path.isdir(directory):
        check_storage()
        return path
    return directory + slash + name


def in_bucket(path: str) -> bool:
    """Whether a path lies in a bucket, mounted or not: there a file appears as a whole when it is closed."""
    return path.startswith(SCHEME) or os.path.abspath(path).startswith(os.path.join(os.path.abspath(_mount()), ""))


def _mount() -> str:
    return os.environ.get(MOUNT, "/gcs")


@contextlib.contextmanager
def writing(path: epath.PathLike) -> Iterator[None]:
    """Raise an OSError of the block (no space left, read-only) as an InputError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
        raise InputError(f"cannot write {os.fspath(path)!r}: {reason}") from error


def write_bytes(path: epath.PathLike, data: bytes) -> None:
    """Write a whole file, or leave what was there, also where the process is killed. Makes missing directories.

    Raises:
        InputError: the path cannot be written.
    """
    target = epath.Path(path)
    # A random name, so that two writers of one path never mix their bytes.
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                if "://" not in os.fspath(target):  # there is no partial file in an object store
                    os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_json(path: epath.PathLike, content: Mapping[str, object]) -> None:
    """Write a whole file of strict, indented JSON, as `write_bytes` does.

    Raises:
        InputError: the path cannot be written.
        ValueError: a number is not finite, which JSON does not have.
    """
    write_bytes(path, json_bytes(content))


def json_bytes(content: Mapping[str, object]) -> bytes:
    """Strict, indented JSON; a path whose bytes are no UTF-8 is written with escapes."""
    try:
        return (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
