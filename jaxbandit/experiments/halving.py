"""Rungs of successive halving, run group by group; a sweep without halving is one rung. Writes no results."""

import io
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from etils import epath

from jaxbandit import reporting
from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_bytes
from jaxbandit._core.signals import Interrupted, stop_requests
from jaxbandit.experiments import run as experiment
from jaxbandit.experiments import run_directory
from jaxbandit.experiments.config import Config, flag_values
from jaxbandit.experiments.run import World, phase
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.sweep_config import Plan
from jaxbandit.simulation import chunks, lanes
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.chunks import Work
from jaxbandit.simulation.metrics import Curves, RoundMetrics


class Rung(NamedTuple):
    """A stage of successive halving; a sweep without it is one rung of all configurations and rounds."""

    configs: int  # that take part
    divisor: int  # of the rounds


class Group(NamedTuple):
    """Configurations that share a compiled program."""

    members: list[int]
    config: Config  # of the first one
    world: World


class Part(NamedTuple):
    """What is left of a group in a rung."""

    group: int
    alive: list[int]  # configurations
    place: epath.Path  # where its checkpoints are, and with .npy its sums when it is done


class Result(NamedTuple):
    """Where a configuration got to."""

    rung: int
    curves: Curves


def rungs(count: int, eta: int | None) -> list[Rung]:
    """Stages of successive halving: 1/eta of the configurations go on to eta times the rounds, down to at most eta.

    Source: Jamieson and Talwalkar 2016.
    """
    counts = [count]
    while eta is not None and counts[-1] > eta:
        counts.append(-(-counts[-1] // eta))
    return [Rung(count, (eta or 1) ** (len(counts) - 1 - i)) for i, count in enumerate(counts)]


def check_delays(configs: Sequence[Config], eta: int | None) -> None:
    """Raise InputError where a delay outlasts the first rung: nothing is learned there, and chance would decide."""
    divisor = rungs(len(configs), eta)[0].divisor
    for config in configs:
        first = -(-config.rounds // divisor)
        if config.delay >= first:
            raise InputError(
                f"delay is {config.delay}, but the first rung of the halving has {first} of {config.rounds} rounds; "
                f"allowed: 0 to {first - 1}"
            )


class Runner:
    """Runs the rungs of a plan, group by group, and counts what it took."""

    def __init__(
        self,
        plan: Plan,
        configs: Sequence[Config],
        built: Sequence[Group],
        places: Places,
        checkpoint_every: int | None,
        max_lanes: int | None,
        profile: bool,
    ) -> None:
        self.plan, self.configs, self.built, self.places = plan, configs, built, places
        self.checkpoint_every, self.max_lanes = checkpoint_every, max_lanes
        self.trace_directory = str(places.tensorboard) if profile else None
        self.rungs = rungs(len(configs), plan.eta)
        self.programs: dict[int, Work] = {}
        self.compile_seconds = self.seconds = 0.0
        self.interactions = self.simulated = 0  # users served in all lanes: of the whole sweep, and in this process

    def run(self) -> tuple[dict[int, Result], list[pl.DataFrame]]:
        """Run all rungs: the last result of every configuration, and one table of decisions for each rung."""
        results: dict[int, Result] = {}
        decisions = []
        alive = list(range(len(self.configs)))
        with stop_requests() as stop, chunks.tracing(self.trace_directory) as trace:
            for number in range(len(self.rungs)):
                found = self._run_rung(number, alive, stop, trace)
                results |= {i: Result(number, curves) for i, curves in found.items()}
                seeds = min(found[i].sums.regret.shape[1] for i in alive)  # groups have different numbers of them
                ranked = tabulate(self.plan, self.configs, {i: _on_seeds(results[i], seeds) for i in alive})
                going_on = self.rungs[number + 1].configs if number + 1 < len(self.rungs) else 0
                decisions.append(ranked.with_columns(kept=pl.col("rank") <= going_on))
                alive = sorted(ranked["configuration"][:going_on].to_list())
        return results, decisions

    def _run_rung(self, number: int, alive: list[int], stop: Any, trace: Any) -> dict[int, Curves]:
        """Simulate the configurations that are alive; groups that an interrupted sweep has finished are read."""
        parts = self._parts(number, alive)
        sums = {part.group: found for part in parts if (found := _read(part.place)) is not None}
        missing = [part for part in parts if part.group not in sums]
        self._compile([part.group for part in missing if part.group not in self.programs], stop)
        work = {part.group: self._lanes(part, number) for part in missing}
        total = sum(w.interactions for w in work.values())
        words = "simulating" if len(self.rungs) == 1 else f"rung {number + 1} of {len(self.rungs)}"
        with reporting.progress(total, description=words, console=experiment.console()) as bar:
            done = 0
            for part in missing:
                found = self._simulate(work[part.group], part.place, stop, trace, partial(_show, bar, done))
                done += work[part.group].interactions
                sums[part.group] = found
        self.simulated += total
        curves = {}
        for part in parts:
            for row, i in enumerate(part.alive):
                edges = self._edges(self.configs[i].rounds, number)
                curves[i] = Curves(self.configs[i].batch_size, edges, RoundMetrics(*sums[part.group][:, :, row]))
                self.interactions += int(edges[-1]) * self.configs[i].batch_size * sums[part.group].shape[3]
        return curves

    def _parts(self, number: int, alive: Sequence[int]) -> list[Part]:
        survivors, found = set(alive), []
        for index, group in enumerate(self.built):
            members = [i for i in group.members if i in survivors]
            if members:
                found.append(Part(index, members, self.places.checkpoints / f"{number:02d}-{index:04d}"))
        return found

    def _compile(self, missing: Sequence[int], stop: Any) -> None:
        started = time.perf_counter()
        for count, index in enumerate(missing):
            group = self.built[index]
            of = f" ({count + 1} of {len(missing)} programs)" if len(missing) > 1 else ""
            with phase(f"compiling {group.config.agent}{of}"):
                columns = self._columns(group) if len(self.rungs) > 1 else None
                self.programs[index] = experiment.prepare(
                    group.config, group.world, columns=columns, max_lanes=self.max_lanes
                )
            if any(processes.any_of(stop.is_set())):
                raise Interrupted(self._hint())
        self.compile_seconds += time.perf_counter() - started

    def _lanes(self, part: Part, number: int) -> Work:
        """Give all lanes of a group's program to the configurations that are alive: more seeds for fewer of them."""
        whole = self.programs[part.group]
        edges = self._edges(self.built[part.group].config.rounds, number)
        if number == 0:
            return whole._replace(edges=edges)
        group = self.built[part.group]
        before, now = (-(-len(configs) // self._columns(group)) for configs in (group.members, part.alive))
        seeds = whole.num_seeds * before // now  # of rows without padding: their number is the same on any devices
        tiles = lanes.tiles(len(part.alive), seeds, *whole.tiles[0].config.shape)
        members = np.searchsorted(group.members, part.alive)
        return whole._replace(tiles=tiles, members=members, num_seeds=seeds, edges=edges)

    def _columns(self, group: Group) -> int:
        """Configurations side by side in a row, so that those of the last rung fill one."""
        return min(self.rungs[-1].configs, len(group.members))

    def _edges(self, rounds: int, number: int) -> np.ndarray:
        """Ends of rows in a rung, those of earlier rungs' final windows among them: there dropped ones are compared."""
        *earlier, last = (-(-rounds // rung.divisor) for rung in self.rungs[: number + 1])
        marks = [mark for end in earlier for mark in (end - math.ceil(end / 10), end)]
        return np.union1d(chunks.row_edges(last), marks).astype(np.int64)

    def _simulate(self, work: Work, place: epath.Path, stop: Any, trace: Any, show: Any) -> np.ndarray:
        checkpoints = Checkpoints(place)
        state = chunks.start(work, checkpoints)
        share = work.interactions // (work.rounds * len(work.tiles))
        state, seconds = chunks.advance(
            work,
            state,
            checkpoints,
            every=experiment.loops_between(self.checkpoint_every, self.configs[0]),
            watch=lambda state: show(chunks.number(work, state) * share),
            stop=stop,
            trace=trace,
        )
        self.seconds += seconds
        if not chunks.is_finished(work, state):
            raise Interrupted(self._hint())
        processes.by_first(lambda: _keep(place, state.sums))
        return state.sums

    def _hint(self) -> str:
        if not run_directory.can_resume(self.places.checkpoints):
            return "interrupted"
        return f"interrupted; go on with: {self.places.way_on('sweep')}"


def _on_seeds(result: Result, count: int) -> Result:
    """Keep the first seeds, so that all configurations are judged by the same ones."""
    curves = result.curves
    sums = RoundMetrics(*(field[:, :count] for field in curves.sums))
    return result._replace(curves=Curves(curves.batch_size, curves.edges, sums))


def _show(bar: reporting.Progress, before: int, interactions: int) -> None:
    bar.update(before + interactions)


def tabulate(plan: Plan, configs: Sequence[Config], results: dict[int, Result]) -> pl.DataFrame:
    """Rank configurations; `configuration` numbers them as the plan does."""
    chosen = list(results)
    return reporting.tabulate(
        [{"configuration": i, **flag_values(configs[i])} for i in chosen],
        [results[i].curves for i in chosen],
        metric=plan.metric,
        rungs=[results[i].rung for i in chosen] if plan.eta else None,
    )


def _read(place: epath.Path) -> np.ndarray | None:
    """Read the sums of a part that is done; None where it is not."""
    path = place.parent / f"{place.name}.npy"

    def look() -> np.ndarray:
        return np.array(_load(path).shape if path.exists() else (0, 0, 0, 0))

    shape = processes.from_first(look, lambda: np.zeros(4, int))
    if not np.any(shape):
        return None
    return np.asarray(processes.from_first(lambda: _load(path), lambda: np.zeros(shape, np.float32)), np.float64)


def _load(path: epath.Path) -> np.ndarray:
    try:
        return np.load(io.BytesIO(path.read_bytes()))
    except (ValueError, EOFError):
        raise InputError(f"{str(path)!r} is damaged; delete it to have it computed again") from None


def _keep(place: epath.Path, sums: np.ndarray) -> None:
    """Write the sums of a part that is done, which come from float32, and drop its checkpoints."""
    buffer = io.BytesIO()
    np.save(buffer, sums.astype(np.float32))
    write_bytes(place.parent / f"{place.name}.npy", buffer.getvalue())
    if place.exists():
        place.rmtree()
