"""Plan -> worlds -> rungs -> the files of a sweep. What is simulated when and where is decided in `rungs`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from etils import epath

from jaxbandit import reporting
from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes, write_json
from jaxbandit.experiments import run as experiment
from jaxbandit.experiments import run_directory
from jaxbandit.experiments.config import Config, flag_values
from jaxbandit.experiments.halving import Group, Result, Runner, check_delays, tabulate
from jaxbandit.experiments.run import phase
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.sweep_config import Plan, groups

BEST = 5  # configurations whose learning curves are kept


def run(
    plan: Plan,
    out: str | Places,
    *,
    resume: bool = False,
    checkpoint_every: int | None = None,
    max_lanes: int | None = None,
    profile: bool = False,
) -> dict[str, Any]:
    """Simulate all configurations, and leave their ranked table in directory `out`; return summary.json's content.

    Lanes of a rung that is not the first are simulated from their first round again: the survivors' old lanes beside
    their new seeds fill a program of a fixed shape, where lanes left out would save nothing.

    Raises:
        InputError: bad input; an existing result is untouched.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    configs = plan.configs()
    experiment.loops_between(checkpoint_every, configs[0])
    if max_lanes is not None and max_lanes < 1:
        raise InputError(f"max_lanes is {max_lanes}; allowed: a whole number > 0")
    places = run_directory.places(out)
    finished = experiment.look(plan, places, resume)
    if finished is not None:
        return finished
    check_delays(configs, plan.eta)
    built = _build(configs)
    with run_directory.claimed(plan, places, resume):
        max_lanes = _limit(max_lanes, places.checkpoints / "max_lanes")
        runner = Runner(plan, configs, built, places, checkpoint_every, max_lanes, profile)
        results, decisions = runner.run()
        best = _write(plan, configs, results, decisions, places)
        summary = reporting.summarize(
            results[best].curves, compile_seconds=runner.compile_seconds, run_seconds=runner.seconds
        )
        world = next(group.world for group in built if best in group.members)
        rate = runner.simulated / runner.seconds if runner.seconds else None
        summary |= {
            "interactions_per_second": rate,
            "world": dict(world.environment.facts),
            "device": experiment.device(),
            "sweep": {
                "configurations": len(configs),
                "programs": len(built),
                "interactions": runner.interactions,
                "metric": plan.metric,
            },
        }
        processes.by_first(lambda: _end(places, summary))
    return summary


def _limit(max_lanes: int | None, path: epath.Path) -> int | None:
    """Keep the limit, or find that of the interrupted sweep, whose checkpoints have its shape; 0 is for none."""

    def look() -> np.ndarray:
        kept = int(path.read_text()) if path.exists() else max_lanes or 0
        if max_lanes is not None and max_lanes != kept:
            raise InputError(f"max_lanes is {max_lanes}, but was {kept or 'not given'} before; allowed: the same")
        write_bytes(path, str(kept).encode())
        return np.array(kept)

    return int(processes.from_first(look, lambda: np.zeros((), int))) or None


def _build(configs: Sequence[Config]) -> list[Group]:
    """Make the worlds, each environment once."""
    made: dict[str, Any] = {}
    found = []
    for members in groups(configs):
        config = configs[members[0]]
        key = repr([getattr(config, name) for name in ("env", "ratings", "env_settings", "user_column", "item_column")])
        if key not in made:
            with phase(f"building {config.env}"):
                made[key] = experiment.make_environment(config)
        found.append(Group(members, config, experiment.build(*(configs[i] for i in members), made=made[key])))
    return found


def show(plan: Plan, summary: dict[str, Any], out: str) -> None:
    """Print the leaderboard of a finished sweep."""
    path = run_directory.places(out).results / "results.parquet"
    try:
        frame = pl.read_parquet(path.read_bytes())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; allowed: that of a finished sweep") from None
    totals = {**summary, **summary["sweep"]}
    reporting.print_leaderboard(frame, swept=plan.swept, metric=plan.metric, totals=totals, directory=out)


def _write(
    plan: Plan,
    configs: Sequence[Config],
    results: dict[int, Result],
    decisions: list[pl.DataFrame],
    places: Places,
) -> int:
    """Write tables, pictures and the best configuration; return which one it is."""
    directory = places.results
    frame = tabulate(plan, configs, dict(sorted(results.items())))
    leaders = frame["configuration"][:BEST].to_list()
    best = {reporting.name_settings(flag_values(configs[i]), plan.swept): results[i].curves for i in leaders}

    def write() -> None:
        reporting.write_results(directory, frame)
        if plan.eta:
            table = pl.concat(
                [d.insert_column(0, pl.lit(r).alias("rung_number")) for r, d in enumerate(decisions)],
                how="diagonal_relaxed",
            )
            write_bytes(directory / "halving.csv", table.write_csv().encode())
        seeds = results[leaders[0]].curves.sums.regret.shape[1]
        write_json(directory / "best.json", flag_values(configs[leaders[0]]) | {"seeds": seeds})
        reporting.write_metrics_csv(directory / "metrics.csv", results[leaders[0]].curves)
        for rank, (name, curves) in enumerate(best.items(), start=1):
            with reporting.EventLog(places.tensorboard / f"{rank} {name}") as events:
                events.append(curves)
        title = f"{len(configs)} configurations on {configs[0].env}"
        path = directory / "sweep.png"
        reporting.plot_sweep(path, frame, best, swept=plan.swept, metric=plan.metric, title=title)

    processes.by_first(write)
    return leaders[0]


def _end(places: Places, summary: dict[str, Any]) -> None:
    """Write the summary, which says that all is there; what could be resumed is not needed any more."""
    write_json(places.results / "summary.json", summary)
    if places.checkpoints.exists():
        places.checkpoints.rmtree()
