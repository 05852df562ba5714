"""Config -> objects -> lanes -> files. The only place where names become objects and where the root key is made."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxbandit import output, reporting, sweep
from jaxbandit.agents import AGENTS
from jaxbandit.checkpoint import Checkpoints
from jaxbandit.config import Config, checked, read_config, takes_ratings
from jaxbandit.data import load
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.errors import InputError
from jaxbandit.hyperparameters import hyperparameters
from jaxbandit.interruption import Interrupted, stop_requests
from jaxbandit.metrics import Curves, RoundMetrics
from jaxbandit.types import Agent, Environment

__all__ = ["Config", "Interrupted", "World", "build", "checked", "read_config", "row_edges", "run"]

ROWS = 100  # rows of the learning curves that are evenly spaced; as many again are packed into the beginning
ROWS_PER_CALL = 2  # rows that one call of the program computes: progress is shown, and signals are met, between calls


class World(NamedTuple):
    """The objects that a config names."""

    environment: Environment
    params: Any
    factory: Callable[..., Agent]  # (**traced hyperparameters) -> Agent
    grid: dict[str, jax.Array]  # traced hyperparameters, [1] each


class Progress(NamedTuple):
    """How far the lanes are."""

    carry: Any
    sums: np.ndarray  # float64 [metric, W, S]; rows that are not done yet are zero
    done: int  # rows


def build(config: Config) -> World:
    """Make the environment and the agent's factory of a checked config.

    Raises:
        InputError: the ratings cannot be read, or settings do not go together.
    """
    columns = {name: getattr(config, name) for name in ("user_column", "item_column", "rating_column")}
    arguments = [load(config.ratings, **columns)] if takes_ratings(config.env) else []
    environment, params = ENVIRONMENTS[config.env](*arguments, **config.env_settings)
    traced = {name for name, setting in hyperparameters(AGENTS[config.agent]).items() if setting.is_traced}
    static = {name: value for name, value in config.agent_settings.items() if name not in traced}
    grid = {name: jnp.full(1, config.agent_settings[name], jnp.float32) for name in sorted(traced)}
    factory = partial(AGENTS[config.agent], environment.spec, **static)
    factory(**{name: values[0] for name, values in grid.items()})
    return World(environment, params, factory, grid)


def run(config: Config, out: str, *, resume: bool = False, checkpoint_every: int | None = None) -> dict[str, Any]:
    """Simulate, show progress, and leave the results in directory `out`; return the content of summary.json.

    `checkpoint_every` counts training loops (default: a fifth of them).

    Raises:
        InputError: bad input; an existing result is untouched.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    config = checked(config)
    if checkpoint_every is not None and checkpoint_every < 1:
        raise InputError(f"checkpoint_every is {checkpoint_every}; allowed: a whole number > 0")
    directory = epath.Path(out)
    finished = output.look(config, directory, resume)
    if finished is not None:
        return finished
    with reporting.phase(f"building {config.env}"):
        world = build(config)
    every = (checkpoint_every or -(-config.training_loops // 5)) * config.steps_per_loop
    with output.claimed(config, directory, resume) as checkpoints:
        started = time.perf_counter()
        with reporting.phase(f"compiling {config.agent}"):
            lanes = _compile(config, world)
        compile_seconds = time.perf_counter() - started
        start = _begin(config, lanes, checkpoints if resume else None)
        curves, seconds = _advance(config, lanes, start, checkpoints, every, directory)
        first = int(row_edges(config.rounds)[start.done])
        summary = reporting.summarize(curves, compile_seconds=compile_seconds, run_seconds=seconds, resumed_round=first)
        summary["world"] = dict(world.environment.facts)
        summary["device"] = {"kind": jax.devices()[0].device_kind, "count": jax.device_count(), "jax": jax.__version__}
        _write(config, directory, curves, summary)
    return summary


def row_edges(rounds: int) -> np.ndarray:
    """Rounds at which rows of the learning curves end, from 0: every one at first, then at growing, then at even steps.

    The final tenth of the rounds begins at one of them.
    """
    if rounds <= 2 * ROWS:
        return np.append(np.arange(rounds), rounds)
    even = np.arange(ROWS + 1, dtype=np.int64) * rounds // ROWS
    growing = np.geomspace(1, rounds, ROWS)
    early = growing[np.diff(growing, prepend=0) < rounds / ROWS].astype(np.int64)
    return np.unique(np.concatenate([[0], early, even[even > early[-1] + rounds // ROWS // 2]]))


def _compile(config: Config, world: World) -> sweep.Lanes:
    return sweep.compile_lanes(
        jax.random.key(config.seed),
        world.environment,
        world.params,
        world.factory,
        world.grid,
        batch_size=config.batch_size,
        num_seeds=config.seeds,
        num_rows=ROWS_PER_CALL,
    )


def _begin(config: Config, lanes: sweep.Lanes, checkpoints: Checkpoints | None) -> Progress:
    """Start all lanes, or take them up at the last checkpoint."""
    edges = row_edges(config.rounds)
    fresh = Progress(lanes.begin(), np.zeros((len(RoundMetrics._fields), len(edges) - 1, config.seeds)), 0)
    if checkpoints is None or not checkpoints.rounds():
        return fresh
    rounds = checkpoints.rounds()[-1]
    if rounds not in edges:
        raise checkpoints.foreign(rounds)
    carry, sums = checkpoints.restore(rounds, (fresh.carry, fresh.sums))
    return Progress(carry, sums, int(np.searchsorted(edges, rounds)))


def _advance(
    config: Config, lanes: sweep.Lanes, start: Progress, checkpoints: Checkpoints, every: int, directory: epath.Path
) -> tuple[Curves, float]:
    """Run the rounds that are left in chunks, with progress, events and checkpoints: curves, seconds."""
    edges, scale, seconds = row_edges(config.rounds), config.batch_size * config.seeds, 0.0
    state, last = start, len(edges) - 1
    saved = int(edges[start.done])
    bar = reporting.progress(config.rounds * scale, done=saved * scale)
    with bar as progress, reporting.EventLog(directory / "tensorboard") as events, stop_requests() as stop:
        while state.done < last:
            started = time.perf_counter()
            state = _call(lanes, state, edges)
            seconds += time.perf_counter() - started
            now = int(edges[state.done])
            curves = _curves(config, state)
            progress.update(now * scale, float(curves.means().regret[-1].mean()))
            events.append(curves)
            if stop.is_set() or state.done == last or now // every > saved // every:
                checkpoints.save(now, (state.carry, state.sums))
                saved = now
            if state.done < last:
                _meet(stop, now, config, directory)
    return _curves(config, state), seconds


def _call(lanes: sweep.Lanes, state: Progress, edges: np.ndarray) -> Progress:
    """Compute the next rows; spans beyond the last one are empty."""
    span = edges[np.minimum(np.arange(state.done, state.done + ROWS_PER_CALL + 1), len(edges) - 1)]
    carry, metrics = lanes.advance(state.carry, span)
    rows = _to_host(metrics, lanes.num_seeds)[:, : len(edges) - 1 - state.done]
    sums = state.sums.copy()
    done = state.done + rows.shape[1]
    sums[:, state.done : done] = rows
    return Progress(carry, sums, done)


def _meet(stop: threading.Event, now: int, config: Config, directory: epath.Path) -> None:
    if stop.is_set():
        raise Interrupted(
            f"interrupted after {now:,} of {config.rounds:,} rounds; "
            f"go on with: jaxbandit run --resume --out {directory}"
        )


def _curves(config: Config, state: Progress) -> Curves:
    edges = row_edges(config.rounds)[: state.done + 1]
    return Curves(config.batch_size, edges, RoundMetrics(*state.sums[:, : state.done]))


def _to_host(metrics: RoundMetrics, seeds: int) -> np.ndarray:
    """Metrics [S, H = 1, W] of the device, padded seeds dropped, as one float64 array [metric, W, S]."""
    return np.stack([np.asarray(field, np.float64)[:seeds, 0].T for field in metrics])


def _write(config: Config, directory: epath.Path, curves: Curves, summary: dict[str, Any]) -> None:
    """Write the results; the summary comes last, for it says that all is there."""
    title = f"{config.agent} on {config.env}" + (f" ({config.ratings})" if takes_ratings(config.env) else "")
    reporting.write_metrics_csv(directory / "metrics.csv", curves)
    reporting.plot_curves(directory / "curves.png", curves, title=title, name=config.agent)
    reporting.write_json(directory / "summary.json", summary)
