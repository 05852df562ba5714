"""Config -> objects -> lanes -> files. The only place where names become objects and where the root key is made."""

import inspect
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxbandit import reporting, sweep
from jaxbandit.agents import AGENTS
from jaxbandit.checkpoint import Checkpoints
from jaxbandit.data import load
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.errors import InputError, unknown
from jaxbandit.hyperparameters import hyperparameters, validate
from jaxbandit.metrics import Curves, RoundMetrics
from jaxbandit.types import Agent, Environment

ROWS = 200  # rows of the learning curves, about
ROWS_PER_CALL = 4  # rows that one call of the program computes: progress is shown between calls


@dataclass(frozen=True)
class Config:
    """Everything that the numbers of a run depend on, and nothing else."""

    env: str = "mf-per-arm"
    agent: str = "linucb"
    ratings: str = "synth-100k"
    user_column: str | None = None
    item_column: str | None = None
    rating_column: str | None = None
    batch_size: int = 128
    training_loops: int = 200
    steps_per_loop: int = 10
    seeds: int = 8
    seed: int = 0
    env_settings: dict[str, Any] = field(default_factory=dict)
    agent_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """Rounds of each lane."""
        return self.training_loops * self.steps_per_loop


class Interrupted(Exception):
    """The run was asked to stop and has saved its state. Its message says how to go on."""


class World(NamedTuple):
    """The objects that a config names."""

    environment: Environment
    params: Any
    factory: Callable[..., Agent]  # (**traced hyperparameters) -> Agent
    grid: dict[str, jax.Array]  # traced hyperparameters, [1] each


def checked(config: Config) -> Config:
    """Return the config with its settings typed and complete.

    Raises:
        InputError: an unknown name or setting, a value that is not allowed. Nothing has been read or compiled.
    """
    if config.agent not in AGENTS:
        raise unknown("agent", config.agent, AGENTS)
    if config.env not in ENVIRONMENTS:
        raise unknown("env", config.env, ENVIRONMENTS)
    for name, low in {"batch_size": 1, "training_loops": 1, "steps_per_loop": 1, "seeds": 1, "seed": 0}.items():
        if not low <= getattr(config, name) < 2**31:
            raise InputError(f"{name} is {getattr(config, name)}; allowed: a whole number from {low} to 2147483647")
    if config.rounds * config.batch_size >= 2**31 * config.batch_size:
        raise InputError(f"training_loops x steps_per_loop is {config.rounds}; allowed: at most 2147483647")
    if not takes_ratings(config.env) and (config.ratings != Config.ratings or config.user_column):
        raise InputError(
            f"ratings is {config.ratings!r}, but env {config.env} takes no ratings; allowed: mf | mf-per-arm"
        )
    settings = {}
    for kind, registry, name in (("env", ENVIRONMENTS, config.env), ("agent", AGENTS, config.agent)):
        given = validate(kind, name, registry[name], getattr(config, f"{kind}_settings"))
        defaults = {key: setting.default for key, setting in hyperparameters(registry[name]).items()}
        settings[f"{kind}_settings"] = {**defaults, **given}
    return Config(**{**{f.name: getattr(config, f.name) for f in fields(Config)}, **settings})


def takes_ratings(env: str) -> bool:
    """Whether an environment is made of ratings: its factory takes them as its first argument."""
    kinds = [p.kind for p in inspect.signature(ENVIRONMENTS[env]).parameters.values()]
    return inspect.Parameter.POSITIONAL_OR_KEYWORD in kinds


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
    finished = _finished(config, directory, resume)
    if finished is not None:
        return finished
    with reporting.phase(f"building {config.env}"):
        world = build(config)
    started = time.perf_counter()
    with reporting.phase(f"compiling {config.agent}"):
        lanes = _compile(config, world)
    compile_seconds = time.perf_counter() - started
    _claim(config, directory)
    every = (checkpoint_every or -(-config.training_loops // 5)) * config.steps_per_loop
    curves, seconds, resumed = _advance(config, lanes, directory, every, resume)
    summary = reporting.summarize(curves, compile_seconds=compile_seconds, run_seconds=seconds, resumed_round=resumed)
    summary["world"] = dict(world.environment.facts)
    summary["device"] = {"kind": jax.devices()[0].device_kind, "count": jax.device_count(), "jax": jax.__version__}
    title = f"{config.agent} on {config.env}" + (f" ({config.ratings})" if takes_ratings(config.env) else "")
    reporting.write_metrics_csv(directory / "metrics.csv", curves)
    reporting.plot_curves(directory / "curves.png", curves, title=title, name=config.agent)
    reporting.write_json(directory / "summary.json", summary)
    return summary


def row_edges(rounds: int) -> np.ndarray:
    """Rounds at which rows of the learning curves end, from 0; the final tenth of the rounds begins at one of them."""
    even = np.linspace(0, rounds, min(rounds, ROWS) + 1).astype(np.int64)
    return np.unique(np.append(even, rounds - -(-rounds // 10)))


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


def _advance(
    config: Config, lanes: sweep.Lanes, directory: epath.Path, every: int, resume: bool
) -> tuple[Curves, float, int]:
    """Run all rounds in chunks, with progress, events and checkpoints: curves, seconds, the round that we began at."""
    edges = row_edges(config.rounds)
    checkpoints = Checkpoints(directory / "checkpoints")
    carry = lanes.begin()
    done, sums = 0, np.zeros((len(RoundMetrics._fields), len(edges) - 1, config.seeds))
    if resume and checkpoints.rounds():
        carry, sums = checkpoints.restore(checkpoints.rounds()[-1], (carry, sums))
        done = int(np.searchsorted(edges, checkpoints.rounds()[-1]))
    first, saved, scale = int(edges[done]), int(edges[done]), config.batch_size * config.seeds
    seconds = 0.0
    bar = reporting.progress(config.rounds * scale, done=first * scale)
    with bar as progress, reporting.EventLog(directory / "tensorboard") as events, _stop_requests() as stop:
        while done < len(edges) - 1:
            span = np.append(edges[done : done + ROWS_PER_CALL + 1], np.full(ROWS_PER_CALL, edges[-1]))[
                : ROWS_PER_CALL + 1
            ]
            started = time.perf_counter()
            carry, metrics = lanes.advance(carry, span)
            rows = _to_host(metrics, config.seeds)[:, : len(edges) - 1 - done]
            seconds += time.perf_counter() - started
            sums[:, done : done + rows.shape[1]] = rows
            done += rows.shape[1]
            curves = Curves(config.batch_size, edges[: done + 1], RoundMetrics(*sums[:, :done]))
            progress.update(int(edges[done]) * scale, float(curves.means().regret[-1].mean()))
            events.append(curves)
            finished = done == len(edges) - 1
            if stop.is_set() or finished or edges[done] // every > saved // every:
                checkpoints.save(int(edges[done]), (carry, sums))
                saved = int(edges[done])
            if stop.is_set() and not finished:
                raise Interrupted(
                    f"interrupted after {edges[done]:,} of {config.rounds:,} rounds; go on with --resume --out {directory}"
                )
    return curves, seconds, first


def _to_host(metrics: RoundMetrics, seeds: int) -> np.ndarray:
    """Metrics [S, H = 1, W] of the device, padded seeds dropped, as one float64 array [metric, W, S]."""
    return np.stack([np.asarray(field, np.float64)[:seeds, 0].T for field in metrics])


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into a request that is honoured between two chunks; a second one ends the process."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: Any) -> None:
        stop.set()
        for again, handler in old.items():
            signal.signal(again, handler)

    for number in old:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _finished(config: Config, directory: epath.Path, resume: bool) -> dict[str, Any] | None:
    """Look into the output directory: the summary of a finished run that is to be resumed, or None to go to work.

    Raises:
        InputError: the directory holds something else.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out is {str(directory)!r}, a file; allowed: a directory, new or empty")
    path = directory / "config.json"
    if not directory.exists() or not any(directory.iterdir()):
        if resume:
            raise InputError(f"resume: {str(directory)!r} holds no run; allowed: the --out of an interrupted run")
        return None
    if not path.exists():
        raise InputError(f"out is {str(directory)!r}, which holds other files; allowed: a new or empty directory")
    if read_config(str(path)) != config:
        raise InputError(
            f"out is {str(directory)!r}, which belongs to another configuration; allowed: another directory"
        )
    if not resume:
        raise InputError(
            f"out is {str(directory)!r}, which holds this run already; allowed: --resume, or another directory"
        )
    summary = directory / "summary.json"
    return json.loads(summary.read_text()) if summary.exists() else None


def _claim(config: Config, directory: epath.Path) -> None:
    """Write config.json, which says whose directory this is."""
    reporting.write_json(directory / "config.json", asdict(config))


def read_config(path: str) -> Config:
    """Read a config.json.

    Raises:
        InputError: the file is missing, is no JSON object, or has an unknown or a wrong entry.
    """
    try:
        content = json.loads(epath.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"config {path!r} cannot be read: {error}; allowed: a config.json of a run") from None
    known = {f.name: f.type for f in fields(Config)}
    if not isinstance(content, dict):
        raise InputError(f"config {path!r} is not an object; allowed: a config.json of a run")
    for name in content:
        if name not in known:
            raise unknown("entry of the config", name, known)
    return checked(Config(**content))
