"""Write the generated parts of the README and of pages in docs, each between `<!-- NAME -->` and `<!-- end -->`.

Sources: the registries, and in benchmarks/results the summary of a run (run.json), summary and results of a sweep
(sweep.json, sweep.csv), and the JSON lines of the benchmarks (see speed_tables.py).
Run: python benchmarks/report.py [--check]     (--check: exit status 1 when a page is out of date, write nothing)
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerator_tables
import agent_tables
import polars as pl
import round_tables
import speed_tables

from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LEADERS = 5


def registry(entries: dict[str, Callable[..., Any]]) -> str:
    """A row for each entry: its first docstring line and its settings with defaults; those of networks stand once."""
    settings = {name: hyperparameters(factory) for name, factory in entries.items()}
    networks = [set(mine) for mine in settings.values() if "network" in mine]
    shared = set.intersection(*networks) if networks else set()
    lines = ["| name | what it does | settings (defaults) |", "|---|---|---|"]
    for name, mine in settings.items():
        own = [setting for setting in mine.values() if "network" not in mine or setting.name not in shared]
        words = (entries[name].__doc__ or "").splitlines()[0].replace("|", chr(92) + "|")
        lines.append(f"| `{name}` | {words} | {listed(own)}{', *network*' if 'network' in mine else ''} |")
    if shared:
        one = next(mine for mine in settings.values() if "network" in mine)
        lines += ["", f"*network*: {listed([setting for setting in one.values() if setting.name in shared])}."]
    return "\n".join(lines)


def listed(settings: list[Hyperparameter]) -> str:
    return ", ".join(f"`{setting.name}` {shown(setting.default)}" for setting in settings)


def shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return {"None": "auto", "True": "true", "False": "false"}.get(str(default), str(default))


def run() -> str:
    """The final numbers of the run whose picture the README shows."""
    summary = json.loads((RESULTS / "run.json").read_text())
    final, baselines = summary["final"], summary["baselines"]
    rows = {
        "linucb": (final["average_return"], final["regret"], final["suboptimal_arms"]),
        "uniform": (baselines["uniform"], baselines["uniform_regret"], None),
        "optimal": (baselines["optimal"], None, None),
    }
    lines = ["| | average return | regret | suboptimal arms |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {' | '.join(map(estimate, values))} |" for name, values in rows.items()]
    world = summary["world"]
    fit = f"Held-out RMSE of the fit {world['heldout_rmse']:.3f} ({world['heldout_split']})"
    return "\n".join([*lines, "", f"{fit}; correlation with the true utilities {world['truth_correlation']:.2f}."])


def sweep() -> str:
    """The leaders of the sweep whose picture the README shows."""
    frame = pl.read_csv(RESULTS / "sweep.csv")
    summary = json.loads((RESULTS / "sweep.json").read_text())
    lines = [
        "| rank | alpha | regret | difference to the best, 95% interval | average return |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in frame.head(LEADERS).iter_rows(named=True):
        regret, reward = ({"mean": row[name], "stderr": row[f"{name}_stderr"]} for name in ("regret", "average_return"))
        interval = f"{row['difference']:+.4f} [{row['difference_low']:.4f}, {row['difference_high']:.4f}]"
        cells = (
            row["rank"],
            f"{row['alpha']:.4g}",
            estimate(regret),
            interval if row["rank"] > 1 else "best",
            estimate(reward),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    first, seconds = frame.row(0, named=True), summary["seconds"]
    text = (
        f"The first of {len(frame)} values of alpha, with {first['seeds']} seeds each: "
        f"{len(frame) * first['seeds']:,} lanes of LinUCB on `{first['ratings']}` ({first['factorizer']}, "
        f"ridge {first['tikhonov-weight']:g}), {summary['sweep']['interactions']:,} interactions in "
        f"{seconds['run']:.0f} s after {seconds['compile']:.1f} s of compilation on one {summary['device']['kind']}."
    )
    return "\n".join([text, "", *lines])


def estimate(value: dict[str, float] | None) -> str:
    return "–" if value is None else f"{value['mean']:.4f} ± {value['stderr']:.4f}"


Parts = dict[str, Callable[[], str]]
PAGES: dict[str, Parts] = {
    "README.md": {
        "agents": lambda: registry(AGENTS),
        "environments": lambda: registry(ENVIRONMENTS),
        "throughput": speed_tables.throughput,
        "scaling": speed_tables.scaling,
        "roofline": speed_tables.roofline,
        "run": run,
        "sweep": sweep,
        "all agents": agent_tables.all_agents,
        "wheel": agent_tables.wheel,
        "growth": agent_tables.growth,
    },
    "docs/rounds.md": {"peers": round_tables.peers, "rounds": round_tables.rounds},
    "docs/accelerators.md": {
        "tpu": accelerator_tables.tpu,
        "gpu": accelerator_tables.gpu,
        "agents": accelerator_tables.agents,
        "goals": accelerator_tables.goals,
        "measured": accelerator_tables.measured,
    },
}


def main() -> None:
    stale = []
    for page, parts in PAGES.items():
        path = ROOT / page
        old = path.read_text()
        new = written(page, old, parts)
        if new != old:
            stale.append(page)
        if "--check" not in sys.argv:
            path.write_text(new)
    if stale and "--check" in sys.argv:
        sys.exit(f"{' and '.join(stale)} out of date: run python benchmarks/report.py")


def written(page: str, text: str, parts: Parts) -> str:
    """Replace the generated parts of a page."""
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"report.py: {page} has no part {name!r}")
        made = part()
        text = pattern.sub(lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text)
    return text


if __name__ == "__main__":
    main()
