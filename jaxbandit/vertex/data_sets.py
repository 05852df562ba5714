"""Data sets with names that a launch needs and an image lacks: they are put into its bucket once. It reads none."""

import re
from collections.abc import Iterable

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit.data import DATASETS, cached
from jaxbandit.vertex.buckets import Buckets

FOLDER = "_data"  # no launch has such a name


def named(args: Iterable[str]) -> list[str]:
    """Data sets that a command line names, if they are not generated."""
    words = {word for arg in args for word in re.split(r"[=,:]", arg)}
    return [name for name, data in DATASETS.items() if data.downloadable and name in words]


def place(bucket: str) -> str:
    """Where they lie."""
    return f"{bucket.rstrip('/')}/{FOLDER}"


def bring(names: Iterable[str], buckets: Buckets, bucket: str) -> None:
    """Put into the bucket what is not there yet.

    Raises:
        InputError: it is not on this machine either.
    """
    for name in names:
        if f"{name}.zip" in buckets.files(place(bucket)):
            continue
        path = cached(name)
        if path is None:
            raise InputError(
                f"ratings is {name!r}, which is neither in {place(bucket)} nor on this machine; allowed: after "
                f"`jaxbandit data fetch {name}`"
            )
        reporting.say(f"{name} goes to {place(bucket)}, once")
        buckets.write(f"{place(bucket)}/{name}.zip", path.read_bytes())
