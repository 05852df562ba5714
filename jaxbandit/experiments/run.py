"""Config -> objects -> lanes -> files. The only place where names become objects and where the root key is made."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from rich.console import Console

from jaxbandit import reporting
from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import write_json
from jaxbandit._core.signals import Interrupted, stop_requests
from jaxbandit.agents import AGENTS
from jaxbandit.data import load
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments import interaction_log, run_directory
from jaxbandit.experiments.config import Config, checked, read_config, takes_ratings
from jaxbandit.experiments.run_directory import Places
from jaxbandit.experiments.sweep_config import traced
from jaxbandit.simulation import chunks, lanes, recording
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.chunks import Work
from jaxbandit.simulation.delay import delayed
from jaxbandit.simulation.metrics import Curves
from jaxbandit.types import Agent, Environment

__all__ = ["Config", "Interrupted", "World", "build", "checked", "read_config", "run"]


class World(NamedTuple):
    """The objects that a config names, or several that differ in traced settings alone."""

    environment: Environment
    params: Any
    factory: Callable[..., Agent]  # (**traced hyperparameters) -> Agent
    grid: dict[str, np.ndarray]  # traced hyperparameters, [H] each


def build(*configs: Config, made: tuple[Environment, Any] | None = None) -> World:
    """Make the environment, unless it is `made` already, and the agents' factory of checked configs.

    Raises:
        InputError: the ratings cannot be read, or settings do not go together.
    """
    config = configs[0]
    environment, params = made or make_environment(config)
    names = traced(config.agent)
    static = {name: value for name, value in config.agent_settings.items() if name not in names}
    grid = {name: np.array([c.agent_settings[name] for c in configs], np.float32) for name in sorted(names)}
    factory: Callable[..., Agent] = partial(AGENTS[config.agent], environment.spec, **static)
    first = {name: float(values[0]) for name, values in grid.items()}
    check_slates(config, environment, factory(**first))
    if config.delay:
        factory = delayed(factory, environment, params, config.batch_size, config.delay)
        factory(**first)  # refuses what is too large
    return World(environment, params, factory, grid)


def check_slates(config: Config, environment: Environment, agent: Agent) -> None:
    """Raise InputError where the environment wants slates and the agent takes one arm, or the other way round."""
    size = environment.spec.slate_size
    if agent.slates != (size > 1):
        wants = f"slates of {size} arms" if size > 1 else "one arm"
        raise InputError(
            f"agent is {config.agent}, but env {config.env} wants {wants} of each user; "
            f"allowed: an agent that {'ranks slates, as cascade-linucb' if size > 1 else 'takes one arm, as linucb'}"
        )


def make_environment(config: Config) -> tuple[Environment, Any]:
    """Read the ratings, where the environment takes some, and make it with its arrays."""
    columns = {name: getattr(config, name) for name in ("user_column", "item_column", "rating_column")}
    arguments = [load(config.ratings, **columns)] if takes_ratings(config.env) else []
    return ENVIRONMENTS[config.env](*arguments, **config.env_settings)


def run(
    config: Config,
    out: str | Places,
    *,
    resume: bool = False,
    checkpoint_every: int | None = None,
    profile: bool = False,
    log_interactions: bool = False,
    propensity_samples: int | None = None,
    report: Callable[[Curves], None] | None = None,
) -> dict[str, Any]:
    """Simulate, show progress, and leave the results in directory `out`; return the content of summary.json.

    `checkpoint_every` counts training loops; by default every chunk is saved, if that takes less than a tenth of the
    time. `profile` leaves a trace of the first chunks beside the TensorBoard events. `log_interactions` writes every
    interaction to Parquet files, with a propensity from `propensity_samples` draws where the agent tells none.
    `report` is called, in the first process, with the learning curves so far, unless lanes are simulated in turn.

    Raises:
        InputError: bad input; an existing result is untouched.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    config = checked(config)
    every = loops_between(checkpoint_every, config)
    places = run_directory.places(out)
    finished = look(config, places, resume)
    samples = _samples(places, resume, log_interactions, propensity_samples)
    if finished is not None:
        return finished
    with phase(f"building {config.env}"):
        world = build(config)
    played, rounds_per_call = recorded(config, world, samples) if samples else (world, None)
    with run_directory.claimed(config, places, resume):
        log = _begin_log(config, world, rounds_per_call, places.results, samples) if rounds_per_call else None
        started = time.perf_counter()
        with phase(f"compiling {config.agent}"):
            work = prepare(config, played, rounds_per_call=rounds_per_call)
        compile_seconds = time.perf_counter() - started
        sums, seconds, first = _simulate(config, work, places, resume, every, profile, log, report)
        curves = chunks.curves(work, sums, 0)
        summary = reporting.summarize(curves, compile_seconds=compile_seconds, run_seconds=seconds, resumed_round=first)
        summary |= {"world": dict(world.environment.facts), "device": device()}
        processes.by_first(lambda: _write(config, places.results, curves, summary))
    return summary


def look(config: Any, places: Places, resume: bool) -> dict[str, Any] | None:
    """Return the summary of finished work that is to be resumed, in all processes or in none."""
    finished = processes.by_first(lambda: run_directory.look(config, places, resume))
    (done,) = processes.any_of(finished is not None)
    return (finished or {}) if done else None


def loops_between(checkpoint_every: int | None, config: Config) -> int | None:
    """Rounds between checkpoints, of loops between them."""
    if checkpoint_every is not None and checkpoint_every < 1:
        raise InputError(f"checkpoint_every is {checkpoint_every}; allowed: a whole number > 0")
    return None if checkpoint_every is None else checkpoint_every * config.steps_per_loop


def prepare(
    config: Config,
    world: World,
    *,
    columns: int | None = None,
    max_lanes: int | None = None,
    rounds_per_call: int | None = None,
) -> Work:
    """Compile the program of all lanes of a world and lay them out.

    Raises:
        InputError: the world refuses, or one lane alone does not fit the memory.
    """
    edges = chunks.edges_of(config.rounds, rounds_per_call)
    program, tiles = lanes.compile_tiles(
        jax.random.key(config.seed),
        world.environment,
        world.params,
        world.factory,
        world.grid,
        batch_size=config.batch_size,
        num_seeds=config.seeds,
        num_rows=chunks.rows_of_calls(edges, rounds_per_call),
        columns=columns,
        max_lanes=max_lanes,
    )
    members = np.arange(lanes.size(world.grid))
    return Work(program, tiles, members, config.seeds, config.batch_size, edges, rounds_per_call)


def _samples(places: Places, resume: bool, log: bool, samples: int | None) -> int:
    """Draws for a propensity that no agent tells, in all processes; 0: nothing is logged."""

    def look() -> np.ndarray:
        begun = resume and bool(Checkpoints(places.checkpoints).rounds())
        return np.array(interaction_log.choose_samples(places.results, resume, begun, log, samples))

    return int(processes.from_first(look, lambda: np.zeros((), int)))


def recorded(config: Config, world: World, samples: int) -> tuple[World, int]:
    """Let the agents of a world keep their interactions, and say of how many rounds: those written at a time.

    Raises:
        InputError: the world wants slates.
    """
    if world.environment.spec.slate_size > 1:
        raise InputError(
            f"log_interactions is set, but env {config.env} wants slates; allowed: an env that wants one arm"
        )
    example = recording.example(world.environment, world.params, config.batch_size)
    rounds = min(config.rounds, recording.rounds_per_chunk(example, config.seeds))

    def factory(**hyperparameters: Any) -> Agent:
        return recording.recorded(world.factory(**hyperparameters), example, rounds, samples)

    return world._replace(factory=factory), rounds


def _begin_log(config: Config, world: World, rounds: int, directory: epath.Path, samples: int) -> interaction_log.Log:
    """Begin the log, or go on with it; of several processes the first one writes it."""
    agent = world.factory(**{name: float(values[0]) for name, values in world.grid.items()})
    header = interaction_log.Header(
        rounds=config.rounds,
        rounds_per_file=rounds,
        batch_size=config.batch_size,
        seeds=config.seeds,
        **interaction_log.sizes(world.environment.spec),
        propensity_exact=agent.probabilities is not None,
        propensity_samples=samples,
    )
    log = interaction_log.Log(directory, header)
    items = recording.catalogue(world.environment, world.params)
    processes.by_first(lambda: log.begin(items))
    return log


def _log(log: interaction_log.Log, work: Work, before: int, state: chunks.State) -> None:
    """Write the interactions of the call that went from `before` to `state`."""
    tile, first = divmod(before, work.rounds)
    seed, config = work.tiles[tile]
    there = config[:, 0] >= 0
    rows = jax.tree.map(lambda x: x[there, 0], processes.gather(state.carry.agent.rounds))
    stop = chunks.number(work, state) - tile * work.rounds
    processes.by_first(lambda: log.write(tile, first, stop, seed[there], rows))


def phase(words: str) -> Any:
    """Say that something goes on; of several processes the first one does."""
    return reporting.phase(words, console=console())


def console() -> Console:
    """Where progress is shown: stderr of the first process."""
    return Console(stderr=True, quiet=not processes.is_first())


def device() -> dict[str, Any]:
    """Name the devices for the summary."""
    return {"kind": jax.devices()[0].device_kind, "count": jax.device_count(), "jax": jax.__version__}


def _simulate(
    config: Config,
    work: Work,
    places: Places,
    resume: bool,
    every: int | None,
    profile: bool,
    log: interaction_log.Log | None,
    report: Callable[[Curves], None] | None,
) -> tuple[np.ndarray, float, int]:
    """Run the rounds that are left, with progress and events: sums, seconds, the round of each lane it began with."""
    checkpoints = Checkpoints(places.checkpoints)
    state = chunks.start(work, checkpoints if resume else None)
    share = work.interactions // (work.rounds * len(work.tiles))  # users served in a round, on average
    first = written = chunks.number(work, state)
    if log is not None:
        processes.by_first(partial(log.forget, *divmod(first, work.rounds)))
    bar = reporting.progress(work.interactions, done=first * share, console=console())
    traces = chunks.tracing(str(places.tensorboard) if profile else None)
    events = reporting.EventLog(places.tensorboard)
    with bar as progress, events, stop_requests() as stop, traces as trace:

        def watch(state: chunks.State) -> None:
            nonlocal written
            if log is not None:
                _log(log, work, written, state)
                written = chunks.number(work, state)
            rows = state.done or None
            curves = chunks.curves(work, state.sums, 0, rows)
            tile = work.tiles[state.tile - (rows is None)]
            latest = curves.means().regret[-1, tile.seed[tile.config[:, 0] >= 0]]
            progress.update(chunks.number(work, state) * share, float(latest.mean()))
            if processes.is_first() and (len(work.tiles) == 1 or chunks.is_finished(work, state)):
                events.append(curves)
                if report is not None:
                    report(curves)

        state, seconds = chunks.advance(work, state, checkpoints, every=every, watch=watch, stop=stop, trace=trace)
    if not chunks.is_finished(work, state):
        now = chunks.number(work, state)
        raise Interrupted(
            f"interrupted after {now:,} of {config.rounds * len(work.tiles):,} rounds; "
            f"go on with: {places.way_on('run')}"
        )
    return state.sums, seconds, first // len(work.tiles)


def _write(config: Config, directory: epath.Path, curves: Curves, summary: dict[str, Any]) -> None:
    """Write the results; the summary comes last, for it says that all is there."""
    title = f"{config.agent} on {config.env}" + (f" ({config.ratings})" if takes_ratings(config.env) else "")
    reporting.write_metrics_csv(directory / "metrics.csv", curves)
    reporting.plot_curves(directory / "curves.png", curves, title=title, name=config.agent)
    write_json(directory / "summary.json", summary)
