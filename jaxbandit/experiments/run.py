"""`jaxbandit run`, and the steps that a run and a sweep have in common: a run is a sweep of one configuration.

Inside the compiled program nothing of this is known; what is simulated when is decided by `runner`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import TracebackType
from typing import cast

import jax

from jaxbandit import reporting
from jaxbandit._core import processes, sealed
from jaxbandit.experiments import recorder, run_directory, sizes
from jaxbandit.experiments.config import Config, checked, takes_ratings
from jaxbandit.experiments.halving import check_delays
from jaxbandit.experiments.recorder import Recorder
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.runner import Finished, Options, Runner
from jaxbandit.experiments.sweep_config import SweepConfig, with_fingerprints
from jaxbandit.experiments.world import Group, build_groups
from jaxbandit.reporting.summary import Summary, SweepSummary
from jaxbandit.simulation import chunks
from jaxbandit.simulation.chunks import State, Work
from jaxbandit.simulation.metrics import Curves

Report = Callable[[Curves], None]
SEALED = ("metrics.csv", "results.parquet")  # that later commands read


def run(
    config: Config,
    out: str | Places,
    *,
    resume: bool = False,
    checkpoint_every: int | None = None,
    profile: bool = False,
    log_interactions: bool = False,
    propensity_samples: int | None = None,
    report: Report | None = None,
) -> Summary:
    """Simulate one configuration, show progress, leave the results in directory `out`; return summary.json's content.

    Args:
        config: what the numbers depend on.
        out: a directory, new or empty, gs:// too.
        resume: go on with what was interrupted in `out`.
        checkpoint_every: training loops between checkpoints; by default the state is saved after each chunk, as long as
            that takes less than a tenth of the time.
        profile: leave a trace of the first chunks beside the TensorBoard events.
        log_interactions: write every interaction to Parquet files.
        propensity_samples: draws that estimate a propensity in this log, where the agent tells none.
        report: is called, in the first process, with the learning curves so far; of several tiles at the end alone.

    Raises:
        InputError: bad input; an existing result is untouched.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    processes.use_all_cores()
    config, places = checked(config), run_directory.places(out)
    samples = recorder.choose_samples(places, resume, log_interactions, propensity_samples)
    options = Options(resume, checkpoint_every, profile=profile, keep_checkpoints=True)
    return carry_out(config, places, options, _write, lambda group: Follower(group, places, samples, report))


def carry_out(
    asked: Config | SweepConfig,
    places: Places,
    options: Options,
    write: Callable[[Finished, Places], tuple[int, SweepSummary | None]],
    follow: Callable[[Group], "Follower"] | None = None,
) -> Summary:
    """Carry out a run or a sweep: check, build, claim the directory, simulate, write; return summary.json's content.

    `write` leaves the results in the directory, and returns which configuration they show, and the summary's part on
    a sweep. `follow` makes the observer of the one group of a run.
    """
    sweep_config = asked if isinstance(asked, SweepConfig) else SweepConfig(asked, ({},))
    configs = sweep_config.configs() if isinstance(asked, SweepConfig) else [asked]  # that of a run is checked already
    options.check()
    if (summary := _finished(asked, places, options.resume)) is not None:
        return summary
    check_delays(configs, sweep_config.eta)
    sizes.check_curves(configs)
    sizes.check_rounds(configs)
    groups = build_groups(configs)
    read = {path: one for group in groups for path, one in group.read.items()}
    asked, configs = with_fingerprints(asked, read), [replace(config, fingerprints=read) for config in configs]
    for group in groups:
        sizes.check_agent(group.config, group.simulation)
    follower = follow(groups[0]) if follow is not None else None
    if follower is not None:
        groups = [follower.group]
    beside = {} if follower is None else follower.beside
    with run_directory.claimed(asked, places, options.resume, beside), follower or nullcontext():
        finished = Runner(sweep_config, configs, groups, places, options, follower).run()
        shown, about = write(finished, places)
        environment = next(group.simulation.environment for group in groups if shown in group.members)
        summary = reporting.summarize(
            finished.results[shown].curves,
            compile_seconds=finished.compile_seconds,
            run_seconds=finished.run_seconds,
            simulated=finished.simulated,
        )
        summary["world"], summary["device"] = dict(environment.facts), _device()
        if about is not None:
            summary["sweep"] = about
        processes.by_first(lambda: _end(places, summary, options.keep_checkpoints))
    return summary


class Follower:
    """Follows a run: writes its log and TensorBoard events chunk by chunk, and reports its learning curves."""

    def __init__(self, group: Group, places: Places, samples: int, report: Report | None) -> None:
        """Let the agents of the group record their interactions where `samples` is not 0."""
        self.group, self.rounds_per_call, self._recorder = group, None, None
        if samples:
            simulation, rounds = recorder.recording_simulation(group.config, group.simulation, samples)
            self.group, self.rounds_per_call = group._replace(simulation=simulation), rounds
            self._recorder = Recorder(group.config, group.simulation, rounds, samples, places)
        self.beside = {"propensity_samples": samples} if samples else {}  # of what config.json keeps
        self._events, self._report = reporting.EventLog(places.tensorboard), report

    def __enter__(self) -> "Follower":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.__exit__(kind, error, trace)

    def begin(self, work: Work, state: State) -> None:
        """See the state before the first call."""
        if self._recorder is not None:
            self._recorder.begin(work, state)

    def follow(self, work: Work, state: State) -> float:
        """See the state after a call; return the regret per interaction for the progress bar."""
        if self._recorder is not None:
            self._recorder.write(work, state)
        points = state.done or None  # none of the next tile: the one before it has ended
        curves = chunks.curves(work, state.sums, 0, points)
        tile = work.tiles[state.tile - (1 if points is None else 0)]
        if processes.is_first() and (len(work.tiles) == 1 or chunks.is_finished(work, state)):
            self._events.append(curves)
            if self._report is not None:
                self._report(curves)
        return float(curves.means().regret[-1, tile.seed[tile.config[:, 0] >= 0]].mean())


def _finished(asked: Config | SweepConfig, places: Places, resume: bool) -> Summary | None:
    """Return the summary of finished work that is to be resumed; None in all processes where there is work to do."""
    summary = processes.by_first(lambda: run_directory.check_free(asked, places, resume))
    (done,) = processes.any_of(summary is not None)
    if done and summary is None:  # the first process has it, and it alone shows it
        return cast(Summary, {})
    return summary


def _write(finished: Finished, places: Places) -> tuple[int, None]:
    """Write the results of a run."""
    (result,) = finished.results.values()
    config, curves = finished.configs[0], result.curves
    title = f"{config.agent} on {config.env}" + (f" ({config.ratings})" if takes_ratings(config.env) else "")

    def write() -> None:
        reporting.write_metrics_csv(places.results / "metrics.csv", curves)
        reporting.plot_curves(places.results / "curves.png", curves, title=title, name=config.agent)

    processes.by_first(write)
    return 0, None


def _end(places: Places, summary: Summary, keep_checkpoints: bool) -> None:
    """Write the summary, which says that all is there; drop what could be resumed, and is not needed any more."""
    files = sealed.digests(places.results, SEALED)
    sealed.write(places.results / "summary.json", {**summary, sealed.FILES: files})
    if not keep_checkpoints and places.checkpoints.exists():
        places.checkpoints.rmtree()


def _device() -> dict[str, str | int]:
    """Name the devices for the summary."""
    return {"kind": jax.devices()[0].device_kind, "count": jax.device_count(), "jax": jax.__version__}
