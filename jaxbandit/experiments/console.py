"""Where the progress of an experiment is shown: on stderr, by the first of several processes."""

from contextlib import AbstractContextManager

from rich.console import Console

from jaxbandit import reporting
from jaxbandit._core import processes


def console() -> Console:
    """Stderr, which is silent in all processes but the first."""
    return Console(stderr=True, quiet=not processes.is_first())


def phase(description: str) -> AbstractContextManager[None]:
    """Show that something of unknown length goes on, such as compilation."""
    return reporting.phase(description, console=console())
