"""Groups of configurations, rung after rung, to their ends: compiled, simulated, checkpointed. It writes no results."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import polars as pl
from etils import epath

from jaxbandit import reporting
from jaxbandit._core import prng, processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.integers import ceil_div
from jaxbandit._core.signals import Interrupted, stop_requests
from jaxbandit.experiments import finished_parts, halving, run_directory
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.console import console, phase
from jaxbandit.experiments.halving import Result
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.sweep_config import SweepConfig
from jaxbandit.experiments.world import Group
from jaxbandit.simulation import chunks, lanes
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.chunks import State, Work
from jaxbandit.simulation.metrics import Curves, RoundMetrics


class Options(NamedTuple):
    """How an experiment is carried out. No number depends on it."""

    resume: bool = False
    checkpoint_every: int | None = None  # training loops; None: each chunk, while that takes below a tenth of the time
    max_lanes: int | None = None  # that are simulated at a time; None: as many as fit the memory
    profile: bool = False  # trace the first chunks with the JAX profiler
    keep_checkpoints: bool = False  # of a run, for `jaxbandit export`; those of a sweep are dropped

    def check(self) -> None:
        """Raise InputError where a number is not allowed."""
        for name in ("checkpoint_every", "max_lanes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; allowed: a whole number > 0")


@runtime_checkable
class Observer(Protocol):
    """Follows the one configuration of a run while it is simulated."""

    rounds_per_call: int | None  # at whose multiples calls of the program end; None: where it suits the program

    def begin(self, work: Work, state: State) -> None:
        """See the state before the first call."""

    def follow(self, work: Work, state: State) -> float:
        """See the state after a call; return the regret per interaction for the progress bar."""


class Part(NamedTuple):
    """What is left of a group in a rung."""

    group: int
    alive: list[int]  # configurations
    directory: epath.Path  # of its checkpoints; when it is done, its sums are in the file DIRECTORY.npy


class Finished(NamedTuple):
    """What came of an experiment, and what it took."""

    configs: Sequence[Config]
    results: dict[int, Result]  # of every configuration, in the last rung it took part in
    decisions: list[pl.DataFrame]  # of successive halving, a table for each rung
    interactions: int  # users served in all lanes together
    simulated: int  # those of them since this start, and not before an interruption
    compile_seconds: float
    run_seconds: float
    num_programs: int


class Runner:
    """Runs all rungs of a sweep."""

    def __init__(
        self,
        sweep_config: SweepConfig,
        configs: Sequence[Config],
        groups: Sequence[Group],
        places: Places,
        options: Options,
        observer: Observer | None = None,
    ) -> None:
        self.sweep_config, self.configs, self.groups, self.places = sweep_config, configs, groups, places
        self.options, self.observer = options, observer
        self.rungs = halving.rungs(len(configs), sweep_config.eta)
        self.max_lanes = options.max_lanes
        if not options.keep_checkpoints:
            self.max_lanes = finished_parts.kept_limit(options.max_lanes, places.checkpoints)
        self.programs: dict[int, Work] = {}
        self.compile_seconds = self.run_seconds = 0.0
        self.interactions = self.simulated = 0

    def run(self) -> Finished:
        """Run rung after rung.

        Raises:
            InputError: a lane alone does not fit the memory, or a checkpoint is damaged.
            Interrupted: SIGINT or SIGTERM came; the state is saved.
        """
        results: dict[int, Result] = {}
        decisions = []
        alive = list(range(len(self.configs)))
        traces = str(self.places.tensorboard) if self.options.profile else None
        with stop_requests() as stop, chunks.tracing(traces) as trace:
            for number in range(len(self.rungs)):
                curves = self._run_rung(number, alive, stop, trace)
                results |= {i: Result(number, of_one) for i, of_one in curves.items()}
                if self.sweep_config.eta is None:
                    continue
                num_kept = self.rungs[number + 1].num_configs if number + 1 < len(self.rungs) else 0
                decisions.append(halving.decide(self.sweep_config, self.configs, results, alive, num_kept))
                alive = sorted(decisions[-1].filter("kept")["configuration"].to_list())
        return Finished(
            configs=self.configs,
            results=dict(sorted(results.items())),
            decisions=decisions,
            interactions=self.interactions,
            simulated=self.simulated,
            compile_seconds=self.compile_seconds,
            run_seconds=self.run_seconds,
            num_programs=len(self.groups),
        )

    def _run_rung(self, number: int, alive: list[int], stop: Event, trace: Callable[[], None]) -> dict[int, Curves]:
        """Simulate the configurations that are alive; groups that an interrupted sweep has finished are read."""
        parts = self._parts(number, alive)
        sums = {part.group: kept for part in parts if (kept := finished_parts.read_sums(part.directory)) is not None}
        missing = [part for part in parts if part.group not in sums]
        self._compile([part.group for part in missing if part.group not in self.programs], stop)
        work = {part.group: self._lanes(part, number) for part in missing}
        served = {part.group: _saved_interactions(work[part.group], part.directory) for part in missing}
        total, before = sum(w.interactions for w in work.values()), sum(served.values())
        words = "simulating" if len(self.rungs) == 1 else f"rung {number + 1} of {len(self.rungs)}"
        with reporting.progress_bar(total, done=before, description=words, console=console()) as bar:

            def show(group: int, interactions: int, regret: float | None) -> None:
                served[group] = interactions
                bar.update(sum(served.values()), regret)

            for part in missing:
                state = self._simulate(work[part.group], part, stop, trace, partial(show, part.group))
                if not chunks.is_finished(work[part.group], state):
                    raise self._interrupted(f" after {sum(served.values()):,} of {total:,} interactions")
                sums[part.group] = state.sums
                if not self.options.keep_checkpoints:
                    processes.by_first(partial(finished_parts.keep_sums, part.directory, state.sums))
        self.simulated += total - before
        return self._curves(number, parts, sums)

    def _curves(self, number: int, parts: Sequence[Part], sums: dict[int, np.ndarray]) -> dict[int, Curves]:
        """Give each configuration its part of the sums."""
        curves = {}
        for part in parts:
            edges = self._edges(self.groups[part.group], number)
            for column, i in enumerate(part.alive):
                of_one = RoundMetrics(*sums[part.group][:, :, column])
                curves[i] = Curves(self.configs[i].batch_size, edges, of_one)
                self.interactions += int(edges[-1]) * self.configs[i].batch_size * of_one.regret.shape[1]
        return curves

    def _parts(self, number: int, alive: Sequence[int]) -> list[Part]:
        survivors, parts = set(alive), []
        for index, group in enumerate(self.groups):
            members = [i for i in group.members if i in survivors]
            directory = self.places.checkpoints
            if not self.options.keep_checkpoints:
                directory = directory / f"{number:02d}-{index:04d}"
            if members:
                parts.append(Part(index, members, directory))
        return parts

    def _compile(self, missing: Sequence[int], stop: Event) -> None:
        started = time.perf_counter()
        for count, index in enumerate(missing, start=1):
            group = self.groups[index]
            of_all = f" ({count} of {len(missing)} programs)" if len(missing) > 1 else ""
            with phase(f"compiling {group.config.agent}{of_all}"):
                self.programs[index] = self._program(group)
            if any(processes.any_of(stop.is_set())):
                raise self._interrupted()
        self.compile_seconds += time.perf_counter() - started

    def _program(self, group: Group) -> Work:
        """Compile the program of a group and lay out the lanes of its first rung."""
        config = group.config
        rounds_per_call = None if self.observer is None else self.observer.rounds_per_call
        edges = self._edges(group, 0)
        program, tiles = lanes.compile_tiles(
            prng.root(config.seed),
            group.simulation,
            num_seeds=config.seeds,
            num_points=chunks.points_of_calls(edges, rounds_per_call),
            columns=self._columns(group) if len(self.rungs) > 1 else None,
            max_lanes=self.max_lanes,
        )
        members = np.arange(len(group.members))
        return Work(program, tiles, members, config.seeds, config.batch_size, edges, rounds_per_call)

    def _lanes(self, part: Part, number: int) -> Work:
        """Give all lanes of a group's program to the configurations that are alive: more seeds for fewer of them.

        Survivors start again at round 0, also with the seeds they had: the program always has the same number of lanes,
        so leaving the old ones out would save no time.
        """
        whole, group = self.programs[part.group], self.groups[part.group]
        if number == 0:
            return whole
        before, now = (ceil_div(len(configs), self._columns(group)) for configs in (group.members, part.alive))
        seeds = whole.num_seeds * before // now  # of rows without padding: their number is the same on any devices
        tiles = lanes.tiles(len(part.alive), seeds, *whole.tiles[0].config.shape)
        members = np.searchsorted(group.members, part.alive)
        return whole._replace(tiles=tiles, members=members, num_seeds=seeds, edges=self._edges(group, number))

    def _edges(self, group: Group, number: int) -> np.ndarray:
        """Rounds at which points of the learning curves end."""
        if self.observer is not None:
            return chunks.edges_of(group.config.rounds, self.observer.rounds_per_call)
        return halving.edges(group.config.rounds, self.rungs[: number + 1])

    def _columns(self, group: Group) -> int:
        """Configurations side by side in a row, so that those of the last rung fill one."""
        return min(self.rungs[-1].num_configs, len(group.members))

    def _simulate(
        self,
        work: Work,
        part: Part,
        stop: Event,
        trace: Callable[[], None],
        show: Callable[[int, float | None], None],
    ) -> State:
        """Simulate a part from its last checkpoint to its end, or to the end of the chunk in which it is stopped."""
        every, checkpoints = self.options.checkpoint_every, Checkpoints(part.directory)
        state = chunks.start(work, checkpoints)
        if self.observer is not None:
            self.observer.begin(work, state)

        def watch(state: State) -> None:
            regret = None if self.observer is None else self.observer.follow(work, state)
            show(_served(work, chunks.rounds_done(work, state)), regret)

        state, seconds = chunks.advance(
            work,
            state,
            checkpoints,
            every=None if every is None else every * self.groups[part.group].config.steps_per_loop,
            watch=watch,
            stop=stop,
            trace=trace,
        )
        self.run_seconds += seconds
        return state

    def _interrupted(self, progress: str = "") -> Interrupted:
        if not run_directory.can_resume(self.places.checkpoints):
            return Interrupted("interrupted")
        command = "sweep" if self.observer is None else "run"
        return Interrupted(f"interrupted{progress}; go on with: {self.places.resume_hint(command)}")


def _served(work: Work, rounds_done: int) -> int:
    """Interactions in so many rounds, counted over the tiles one after the other; the last one may be half empty."""
    tile, rounds = divmod(rounds_done, work.rounds)
    lanes_of = [int(np.sum(one.config >= 0)) for one in work.tiles]
    # Slices: a checkpoint of other tiles, which is refused later on, may lie beyond the last one.
    return work.batch_size * (work.rounds * sum(lanes_of[:tile]) + rounds * sum(lanes_of[tile : tile + 1]))


def _saved_interactions(work: Work, directory: epath.Path) -> int:
    """Interactions that need not be simulated again, since a checkpoint has them."""
    tile, rounds = chunks.last_saved(work, Checkpoints(directory))
    return _served(work, tile * work.rounds + rounds)
