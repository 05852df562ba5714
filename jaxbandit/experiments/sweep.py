"""`jaxbandit sweep`: many configurations on the same users, a ranked table of them, and the best one's flags.

The steps of it are those of `run.carry_out`; here is what a sweep writes.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl

from jaxbandit import reporting
from jaxbandit._core import processes, sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes, write_json
from jaxbandit.experiments import run_directory
from jaxbandit.experiments.config import FlagValue, flag_values
from jaxbandit.experiments.halving import tabulate
from jaxbandit.experiments.run import carry_out
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.runner import Finished, Options
from jaxbandit.experiments.sweep_config import SweepConfig
from jaxbandit.reporting.summary import Summary, SweepSummary

NUM_LEADERS = 5  # configurations whose learning curves are kept


def sweep(
    sweep_config: SweepConfig,
    out: str | Places,
    *,
    resume: bool = False,
    checkpoint_every: int | None = None,
    max_lanes: int | None = None,
    profile: bool = False,
) -> Summary:
    """Simulate all configurations, and leave their ranked table in directory `out`; return summary.json's content.

    Args:
        sweep_config: the configurations, and what ranks them.
        out: a directory, new or empty, gs:// too.
        resume: go on with what was interrupted in `out`.
        checkpoint_every: training loops between checkpoints; by default the state is saved after each chunk, as long as
            that takes less than a tenth of the time.
        max_lanes: lanes that are simulated at a time; by default as many as fit the memory.
        profile: leave a trace of the first chunks beside the TensorBoard events.

    Raises:
        InputError: bad input; an existing result is untouched.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    processes.use_all_cores()
    options = Options(resume, checkpoint_every, max_lanes, profile)
    return carry_out(sweep_config, run_directory.places(out), options, partial(_write, sweep_config))


def show(sweep_config: SweepConfig, summary: Summary, out: str) -> None:
    """Print the leaderboard of a finished sweep."""
    path, way_out = run_directory.places(out).results / "results.parquet", "allowed: that of a finished sweep"
    data = sealed.read_beside(path, summary.get("files"), way_out)
    try:
        frame = pl.read_parquet(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; {way_out}") from None
    totals: Summary = {**summary, "interactions": summary["sweep"]["interactions"]}
    reporting.print_leaderboard(
        frame, swept=sweep_config.swept, metric=sweep_config.metric, totals=totals, directory=out
    )


def _write(sweep_config: SweepConfig, finished: Finished, places: Places) -> tuple[int, SweepSummary]:
    """Write the results of a sweep; return its best configuration, and the summary's part on the sweep."""
    frame = tabulate(sweep_config, finished.configs, finished.results)
    leaders = frame["configuration"][:NUM_LEADERS].to_list()
    processes.by_first(lambda: _write_files(sweep_config, finished, places, frame, leaders))
    best = finished.configs[leaders[0]]
    about: SweepSummary = {
        "configurations": len(finished.configs),
        "programs": finished.num_programs,
        "interactions": finished.interactions,
        "metric": sweep_config.metric,
        "best": flag_values(best) | {"seeds": finished.results[leaders[0]].curves.sums.regret.shape[1]},
    }
    return leaders[0], about


def _write_files(
    sweep_config: SweepConfig, finished: Finished, places: Places, frame: pl.DataFrame, leaders: list[int]
) -> None:
    directory, configs, results = places.results, finished.configs, finished.results
    reporting.write_results(directory, frame)
    if finished.decisions:
        rungs = [table.insert_column(0, pl.lit(i).alias("rung_number")) for i, table in enumerate(finished.decisions)]
        write_bytes(directory / "halving.csv", pl.concat(rungs, how="diagonal_relaxed").write_csv().encode())
    best, config = results[leaders[0]].curves, configs[leaders[0]]
    flags = flag_values(config) | {"seeds": best.sums.regret.shape[1]}
    write_json(directory / "best.json", flags | ({"fingerprints": config.fingerprints} if config.fingerprints else {}))
    reporting.write_metrics_csv(directory / "metrics.csv", best)
    names = _names([flag_values(configs[i]) for i in leaders], sweep_config.swept)
    curves = {name: results[i].curves for name, i in zip(names, leaders, strict=True)}
    for rank, (name, one) in enumerate(curves.items(), start=1):
        with reporting.EventLog(places.tensorboard / f"{rank} {name}") as events:
            events.append(one)
    title = f"{len(configs)} configurations on {configs[0].env}"
    path = directory / "sweep.png"
    reporting.plot_sweep(path, frame, curves, swept=sweep_config.swept, metric=sweep_config.metric, title=title)


def _names(settings: Sequence[Mapping[str, FlagValue]], swept: Sequence[str]) -> list[str]:
    """Name configurations by what is swept; those that look alike, since numbers are rounded, by their rank too."""
    names = [reporting.name_settings(one, swept) for one in settings]
    return [name if names.count(name) == 1 else f"{name} ({rank})" for rank, name in enumerate(names, start=1)]
