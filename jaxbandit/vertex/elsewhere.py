"""A launch that another machine has begun: its file is taken from the bucket. It asks nothing else."""

from pathlib import Path

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import SCHEME
from jaxbandit.vertex import state
from jaxbandit.vertex.buckets import Buckets
from jaxbandit.vertex.state import DIRECTORY, Launch


def opened(place: str | None) -> Launch:
    """Read the launch of a directory, by default the last one here, or of gs://BUCKET/NAME, which then has one here.

    Raises:
        InputError: there is none, it cannot be read, or another launch is in its place here.
    """
    if place is None or not place.startswith(SCHEME):
        return state.read_launch(place)
    uri, directory = f"{place.rstrip('/')}/{state.FILE}", Path(DIRECTORY) / place.rstrip("/").rpartition("/")[2]
    content = sealed.read_bytes(Buckets(None).read(uri), uri, state.WAY_OUT, always=True)
    launch = state.parsed(content, directory)
    if not launch.exists:
        launch.begin()
        return launch
    with state.locked(launch) as here:
        if here.identity != launch.identity:
            raise InputError(f"{str(directory)!r} holds another launch than {place}; allowed: another directory")
        return here.with_news(launch)
