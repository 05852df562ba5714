"""Compiled programs are kept on disk, or in a bucket for all machines of a kind. It compiles nothing."""

import os
import platform
import warnings
from pathlib import Path

from jaxbandit._core.files import mounted
from jaxbandit.data import cache_dir

PROGRAMS = "JAXBANDIT_PROGRAMS"  # variable of the environment: a directory or gs:// place for compiled programs


def keep() -> None:
    """Keep compiled programs: the next run of the same shape starts at once. Harmless where that fails."""
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if place := os.environ.get(PROGRAMS):
        _use(mounted(place))
        return
    # Programs are compiled for the processor at hand, and a home directory may be shared by several.
    directory = Path(cache_dir()) / "programs" / (platform.node() or "local")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        _use(str(directory))


def _use(directory: str) -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", directory)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache", category=UserWarning)
