"""The image that a job names: what the repository's Dockerfile makes a container start with. It builds nothing."""

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..dockerfile import read

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"
# Places in the image, which are others on this machine.
PLACES = ("PATH", "LD_LIBRARY_PATH", "HOME", "PYTHONPATH", "JAXBANDIT_CACHE", "TMPDIR")


class Image(NamedTuple):
    """What a Dockerfile says about starting."""

    entrypoint: list[str]
    command: list[str]
    variables: dict[str, str]


def read_image(dockerfile: Path = DOCKERFILE) -> Image:
    """Read ENTRYPOINT, CMD and the plain variables of the last stage."""
    image = Image([], [], {})
    for word, rest in read(dockerfile):
        if word.upper() == "FROM":
            image = Image([], [], {})
        elif word.upper() == "ENTRYPOINT":
            image = image._replace(entrypoint=_started(rest))
        elif word.upper() == "CMD":
            image = image._replace(command=_started(rest))
        elif word.upper() == "ENV":
            pairs = dict(pair.partition("=")[::2] for pair in shlex.split(rest))
            plain = {name: value for name, value in pairs.items() if name not in PLACES and "$" not in value}
            image = image._replace(variables=image.variables | plain)
    return image


def _started(text: str) -> list[str]:
    return json.loads(text) if text.lstrip().startswith("[") else ["/bin/sh", "-c", text]


def command_line(image: Image, command: Iterable[str], arguments: Iterable[str]) -> list[str]:
    """What a container runs: `command` replaces the entrypoint, and either replaces the image's own command."""
    command, arguments = list(command), list(arguments)
    line = command + arguments if command else image.entrypoint + (arguments or image.command)
    # What the image has installed, this machine has in the repository.
    names = {"jaxbandit": [sys.executable, "-m", "jaxbandit"], "python": [sys.executable], "python3": [sys.executable]}
    return names.get(line[0], line[:1]) + line[1:]
