"""Which places can be read and written at all: local paths and gs://. It reads and writes nothing."""

import os
import re
import socket

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import SCHEME, mounted

STORAGE = ("storage.googleapis.com", 443)
PATIENCE = 5.0  # seconds to reach it; its own library tries for a minute
# With one of these set, storage is reached in another way, which only the library knows.
DETOURS = ("STORAGE_EMULATOR_HOST", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def check_place(what: str, path: str) -> None:
    """Refuse a path that no reader or writer understands, and a bucket while there is no network.

    Raises:
        InputError: its scheme is not gs://, or Cloud Storage cannot be reached.
    """
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path)
    if scheme is None:
        return
    if not path.startswith(SCHEME):
        raise InputError(
            f"{what} {path!r}: {scheme[0]} is not supported: allowed: a local path, or gs://BUCKET/PATH; copy it there"
        )
    if mounted(path) != path or any(os.environ.get(name) for name in DETOURS):
        return
    try:
        socket.create_connection(STORAGE, PATIENCE).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        raise InputError(
            f"{what} {path!r}: {STORAGE[0]} cannot be reached ({reason}): allowed: a local path, or a network"
        ) from None
