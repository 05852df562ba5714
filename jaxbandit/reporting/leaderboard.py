"""The best configurations of a sweep as a table on the console. Ranks nothing: `results` does."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import polars as pl
from rich.console import Console

from jaxbandit.reporting.console import SHARES, Record, estimate_cell, print_rows, speed
from jaxbandit.reporting.numbers import format_difference, format_range, format_setting
from jaxbandit.reporting.progress import print_plain
from jaxbandit.reporting.results import DIFFERENCE, WHOLE_RUN, setting_column
from jaxbandit.reporting.summary import Totals

RANGES = 10  # of ranks that one line names


def print_leaderboard(
    frame: pl.DataFrame,
    *,
    swept: Sequence[str],
    metric: str = "regret",
    top: int = 10,
    totals: Totals | None = None,
    directory: str | None = None,
    console: Console | None = None,
) -> None:
    """Print the `top` rows of what `tabulate` made: the swept settings, the metric, its difference to the best.

    `totals` are those of all configurations together.
    """
    console = console or Console()
    shown = frame.head(top)
    print_rows(console, shown.iter_rows(named=True), _columns(frame, swept, metric))
    for line in _notes(frame, shown, metric):
        print_plain(console, line, "dim")
    if totals is not None:
        print_plain(console, speed(totals))
    if directory is not None:
        print_plain(console, f"results in {directory}")


def _columns(frame: pl.DataFrame, swept: Sequence[str], metric: str) -> dict[str, Callable[[Record], str]]:
    """Map each heading to the function that makes the text of a row's cell."""
    several = "agent" in frame.columns and frame["agent"].n_unique() > 1
    names = [*(["agent"] if several or "agent" in swept else []), *(name for name in swept if name != "agent")]
    settings = {name: partial(_setting, setting_column(name)) for name in names}
    others = [name for name in ("average_return", "suboptimal_arms") if name != metric]
    return {
        "": partial(_setting, "rank"),
        **({"rung": partial(_setting, "rung")} if "rung" in frame.columns else {}),
        **settings,
        _heading(metric): partial(estimate_cell, metric),
        "difference to the best,\n95% interval": partial(_difference, metric),
        **{_heading(name): partial(estimate_cell, name) for name in others},
        "seeds": partial(_setting, "seeds"),
    }


def _heading(metric: str) -> str:
    return metric.replace("_", "\n", 1).replace("_", " ")


def _setting(column: str, row: Record) -> str:
    return format_setting(row[column])


def _difference(metric: str, row: Record) -> str:
    if row["rank"] == 1:
        return "best" if row["difference"] is not None else format_setting(None)
    return format_difference(*(row[name] for name in DIFFERENCE), scale=100.0 if metric in SHARES else 1.0)


def _notes(frame: pl.DataFrame, shown: pl.DataFrame, metric: str) -> list[str]:
    notes = [f"the first {shown.height} of {frame.height:,} configurations"] if shown.height < frame.height else []
    seeds = sorted(set(shown["seeds"]))
    if seeds and seeds != [1]:
        notes.append(f"mean ± standard error over {format_range(seeds)} seeds; differences are taken seed by seed")
    tenth = "in the final tenth of the run"
    notes.append(f"{metric.replace('_', ' ')}: of the whole run; the others: {tenth}" if metric in WHOLE_RUN else tenth)
    if "rung" in frame.columns and frame["rung"].n_unique() > 1:
        notes.append("a configuration that was dropped is compared with the best after as many rounds")
    notes += _verdict(frame)
    diverged = frame.filter(pl.col(metric).is_nan()).height
    if diverged:
        notes.append(f"{_count(diverged)} not finite: a seed diverged, or there is nothing to compare with")
    return notes


def _verdict(frame: pl.DataFrame) -> list[str]:
    """Describe which configurations may be as good as the best."""
    compared = frame.filter(pl.col("rank") > 1, pl.col("difference_low").is_not_null())
    if compared.is_empty():
        return ["nothing tells chance from the order: intervals need two seeds at least"] if frame.height > 1 else []
    equals = compared.filter(pl.col("difference_low") <= 0, pl.col("difference_high") >= 0)
    choice = "" if compared.height == 1 else f" (no correction for {frame.height:,} configurations)"
    if equals.is_empty():
        return [f"no other configuration has an interval that contains 0{choice}"]
    last = equals.filter(pl.col("rung") == frame["rung"][0]) if "rung" in frame.columns else equals
    places = [f"rank {_ranges(last['rank'].to_list())}"] if last.height else []
    if last.height < equals.height:
        places.append(f"{equals.height - last.height:,} of them dropped in an earlier rung")
    count = f"{_count(equals.height)} not to be told from the best, their intervals contain 0"
    return [f"{count}: {'; '.join(places)}{choice}"]


def _count(number: int) -> str:
    return f"{number:,} configuration{' is' if number == 1 else 's are'}"


def _ranges(ranks: Sequence[int]) -> str:
    """Format 2, 3, 4, 7 as 2-4, 7."""
    ends = [0, *(i + 1 for i, (one, next_one) in enumerate(pairwise(ranks)) if next_one > one + 1), len(ranks)]
    parts = [ranks[start:end] for start, end in pairwise(ends)]
    words = [f"{part[0]}" if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in parts]
    return ", ".join(words[:RANGES]) + (", …" if len(words) > RANGES else "")
