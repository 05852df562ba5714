"""One process at a time: a lock that ends with its process, and says who holds it.

Where a file system has no locks, as a bucket, nothing is held.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from jaxbandit._core.files import in_bucket

WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # file systems without locks


@contextmanager
def held(path: str, wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path` for the block; where another process has it, `wait` is told who, and may raise.

    Raises:
        OSError: the file cannot be made.
    """
    file = None if in_bucket(path) else _lock(path, wait)
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                os.unlink(path)  # while it is locked, so that nobody locks a file that is gone
            os.close(file)


def holder(path: str) -> str | None:
    """Say who holds the lock file `path`; None where nobody does."""
    if in_bucket(path):
        return None
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _words(file)
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def _lock(path: str, wait: Callable[[str], None]) -> int | None:
    """Return the locked file; None where there are no locks."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wait(_words(file))
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):  # whoever had it has removed it
                os.close(file)
                continue
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return file
        except OSError as error:
            os.close(file)
            if error.errno in WITHOUT:
                return None
            raise
        except BaseException:
            os.close(file)
            raise


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _words(file: int) -> str:
    with suppress(OSError):
        return os.pread(file, 200, 0).decode("utf-8", "replace") or "another process"
    return "another process"
