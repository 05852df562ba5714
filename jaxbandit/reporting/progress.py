"""Progress of a run on stderr: a live bar on a terminal, a dozen plain lines elsewhere. Measures no metric itself."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from jaxbandit.reporting.numbers import format_duration, format_number

LINES = 10  # off a terminal, about one line per tenth of the run


class Progress:
    """The progress of a run, as `progress_bar` shows it."""

    def __init__(
        self, total: int, done: int, show: Callable[[int, str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._first, self._show, self._clock = total, done, show, clock
        self._start = clock()

    def update(self, interactions: int, regret: float | None = None) -> None:
        """Show the interactions since the start of the run, over all lanes, and the current regret per interaction.

        Speed and time left are those of this process; what a resumed run had done before does not count.
        """
        elapsed = self._clock() - self._start
        rate = (interactions - self._first) / elapsed if elapsed > 0 else 0.0
        parts = [f"{rate:,.0f} interactions/s"]
        if regret is not None:
            parts.append(f"regret {format_number(regret)}")
        if interactions >= self._total:
            parts.append(f"done in {format_duration(elapsed)}")
        elif rate > 0:
            parts.append(f"{format_duration((self._total - interactions) / rate)} left")
        self._show(interactions, "  ".join(parts))


@contextlib.contextmanager
def progress_bar(
    total: int,
    *,
    done: int = 0,
    description: str = "simulating",
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show the progress of `total` interactions over all lanes, `done` of which a resumed run has behind it."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Progress(total, done, _plain_lines(console, description, total), clock)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bar(*columns, console=console, refresh_per_second=4, expand=True) as bar:
        task = bar.add_task(description, total=total, completed=done, text="")

        def show(interactions: int, text: str) -> None:
            bar.update(task, completed=interactions, text=text)

        yield Progress(total, done, show, clock)


@contextlib.contextmanager
def phase(description: str, *, console: Console | None = None) -> Iterator[None]:
    """Show that work of unknown length is under way, such as compilation: a spinner, or one plain line."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        with console.status(description):
            yield
    else:
        print_plain(console, f"{description} ...")
        yield


def say(text: str, *, console: Console | None = None) -> None:
    """Print one line on stderr."""
    print_plain(console or Console(stderr=True), text)


def print_plain(console: Console, text: str, style: str | None = None) -> None:
    """Print one line as it is: no markup, no colours inferred from the text, no wrapping at the terminal's width."""
    console.print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _plain_lines(console: Console, description: str, total: int) -> Callable[[int, str], None]:
    last_tenth = -1

    def show(interactions: int, text: str) -> None:
        nonlocal last_tenth
        tenth = interactions * LINES // max(total, 1)
        if tenth > last_tenth:  # the first update always: it says that the run is alive
            last_tenth = tenth
            percent = 100 * interactions // max(total, 1)
            print_plain(console, f"{description} {percent:3d}%  {interactions:,} of {total:,}  {text}")

    return show
