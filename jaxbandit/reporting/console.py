"""What the command line prints when work is done: tables, lists, and the one line of an error. No progress."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jaxbandit.reporting.numbers import UNKNOWN, format_duration, format_estimate
from jaxbandit.reporting.progress import print_plain
from jaxbandit.reporting.summary import Summary, Totals

SHARES = {"suboptimal_arms"}  # shown in percent
Record: TypeAlias = Mapping[str, Any]  # a row of a Polars frame: column -> value
Row = TypeVar("Row", bound=Mapping[str, object])


def print_table(summary: Summary, *, agent: str, directory: str, console: Console | None = None) -> None:
    """Print the run's result beside uniform and optimal, and the directory of its files."""
    console = console or Console()
    seeds = summary["seeds"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for heading in ("average\nreturn", "\nregret", "suboptimal\narms", "cumulative\nregret"):
        table.add_column(heading, justify="right", overflow="fold")
    for cells in _rows(summary, agent):
        table.add_row(*(Text(cell) for cell in cells), style="bold" if cells[0] == agent else "")
    _print_columns(console, table)
    if lost := summary.get("diverged"):
        print_plain(
            console,
            f"warning: {agent} diverged in {lost} of {seeds} seeds: what it has learned is nan or infinite; a smaller "
            "learning rate, or settings nearer to their defaults, may help",
            "yellow",
        )
    if seeds > 1:
        print_plain(console, f"mean ± standard error over {seeds} seeds", "dim")
    print_plain(
        console, "cumulative regret: over the whole run; the others: per interaction, in its final tenth", "dim"
    )
    print_plain(console, speed(summary))
    print_plain(console, f"results in {directory}")


def print_list(
    rows: Sequence[Sequence[str]],
    *,
    headings: Sequence[str] = ("name", "description"),
    console: Console | None = None,
) -> None:
    """Print one line per row, in columns; a terminal that is too narrow wraps the last column only."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column, heading in enumerate(headings):
        table.add_column(heading, no_wrap=column < len(headings) - 1, overflow="fold")
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    _print_columns(console, table)


def print_rows(console: Console, rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]]) -> None:
    """Print a table: `columns` maps each heading to what makes the text of a row's cell. A row of rank 1 is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(columns):
        table.add_column(heading, justify="right" if index else "left", overflow="fold", vertical="bottom")
    for row in rows:
        table.add_row(*(Text(cell(row)) for cell in columns.values()), style="bold" if row.get("rank") == 1 else "")
    _print_columns(console, table)


def estimate_cell(name: str, row: Record) -> str:
    """Format NAME ± NAME_stderr of a row; a share in percent."""
    scale, unit = (100.0, " %") if name in SHARES else (1.0, "")
    return format_estimate({"mean": row[name], "stderr": row[f"{name}_stderr"]}, scale=scale, unit=unit)


def print_error(message: str, *, console: Console | None = None) -> None:
    """Print `jaxbandit: error: message` on stderr, always as one line."""
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    print_plain(console or Console(stderr=True), f"jaxbandit: error: {line}", "red")


def _rows(summary: Summary, agent: str) -> list[tuple[str, ...]]:
    final, baselines = summary["final"], summary["baselines"]
    return [
        (
            agent,
            format_estimate(final["average_return"]),
            format_estimate(final["regret"]),
            format_estimate(final["suboptimal_arms"], scale=100.0, unit=" %"),
            format_estimate(final["cumulative_regret"]),
        ),
        (
            "uniform",
            format_estimate(baselines["uniform"]),
            format_estimate(baselines["uniform_regret"]),
            UNKNOWN,  # it depends on how many arms are tied with the best, which curves do not hold
            format_estimate(baselines["uniform_cumulative_regret"]),
        ),
        ("optimal", format_estimate(baselines["optimal"]), "0", "0 %", "0"),
    ]


def speed(totals: Totals) -> str:
    """Format in one line how much was simulated, and how fast."""
    seconds, rate = totals["seconds"], totals["interactions_per_second"]
    per_second = f", {rate:,.0f} interactions/s" if rate else ""
    return (
        f"{totals['interactions']:,} interactions in {format_duration(seconds['run'])}{per_second}, "
        f"after {seconds['compile']:.1f} s of compilation"
    )


def _print_columns(console: Console, table: Table) -> None:
    """Print a table without cutting it: a terminal wraps cells, a pipe or a file gets the width that they need.

    rich takes a pipe or a file to be 80 columns wide.
    """
    if not console.is_terminal:
        options = console.options.update(max_width=10_000)
        console.width = max(console.width, Measurement.get(console, options, table).maximum)
    console.print(table)
