"""The image of the commit at hand, as scripts/build_image.sh names it. It builds none."""

import subprocess
from pathlib import Path

from jaxbandit._core.errors import InputError
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.rules import ACCELS

AUTO = "auto"
SOURCE = Path(__file__).parents[2]


def named(cloud: Cloud) -> str:
    """Name of the image: `auto` stands for one in the project's repository jaxbandit, NAME:auto for the tag alone.

    Raises:
        InputError: it is asked for, but this is no checkout.
    """
    name, _, tag = cloud.image.rpartition(":")
    if cloud.image == AUTO:
        name = f"{cloud.region}-docker.pkg.dev/{cloud.project}/jaxbandit/jaxbandit"
    elif tag != AUTO or not name:
        return cloud.image
    suffix = "-dirty" if _git("status", "--porcelain") else ""
    return f"{name}:{_git('rev-parse', '--short=7', 'HEAD')}-{ACCELS[cloud.chosen_machine.platform][0]}{suffix}"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", SOURCE, *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise InputError(
            "image is auto, and jaxbandit does not run from a checkout; allowed: NAME:TAG, or NAME@sha256:DIGEST"
        ) from None
    return done.stdout.strip()
