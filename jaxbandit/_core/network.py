"""Whether Cloud Storage can be reached, found out in seconds. It reads and writes nothing."""

import functools
import os
import socket

from jaxbandit._core.errors import InputError

STORAGE = ("storage.googleapis.com", 443)
PATIENCE = 5.0  # seconds to reach it; the library that reads and writes there tries for a minute
# With one of these set, storage is reached in another way, which only that library knows.
DETOURS = ("STORAGE_EMULATOR_HOST", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@functools.cache  # an error is not kept
def check_storage() -> None:
    """Connect to Cloud Storage once.

    Raises:
        InputError: there is no network, or no answer.
    """
    if any(os.environ.get(name) for name in DETOURS):
        return
    try:
        socket.create_connection(STORAGE, PATIENCE).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        raise InputError(
            f"gs:// is out of reach: {STORAGE[0]} does not answer ({reason}); allowed: a local path, or a network"
        ) from None
