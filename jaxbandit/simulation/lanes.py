"""Lanes: simulations side by side in one compiled, sharded program. No other module of the simulation calls `jax.jit`.

A call simulates a tile of lanes [R, C]: R rows, each of one seed, and in each row C configurations of traced
hyperparameters. The configurations of a row share the seed's key, so they meet the same users and arms, and what is
common to them is computed once. Rows are sharded over the devices; nothing is exchanged between devices inside the
loop. Which seeds and configurations a tile holds is data, so one program serves all tiles of one shape.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree, UInt32

from jaxbandit._core import memory, platforms, prng, processes
from jaxbandit._core.errors import InputError
from jaxbandit._core.integers import ceil_div
from jaxbandit.simulation import rounds
from jaxbandit.simulation.metrics import RoundMetrics
from jaxbandit.simulation.rounds import Carry, Lane
from jaxbandit.types import Agent, Environment, TracedFactory

LANES, EVERYWHERE = PartitionSpec("lanes"), PartitionSpec()
Grid = Mapping[str, Float[Array | np.ndarray, " H"]]
Hyperparameters = Mapping[str, Float[Array, ""]]  # of one configuration


class Simulation(NamedTuple):
    """What is compiled as one program: all configurations that differ in traced hyperparameters alone."""

    environment: Environment
    params: PyTree
    factory: TracedFactory  # called inside the trace with one value of each entry of `grid`
    grid: Grid
    batch_size: int

    @property
    def example_agent(self) -> Agent:
        """The agent of the first configuration."""
        return self.factory(**{name: float(values[0]) for name, values in self.grid.items()})


class Tile(NamedTuple):
    """Lanes of one call. Those of configuration -1 only fill it up."""

    seed: Int[np.ndarray, " R"]
    config: Int[np.ndarray, "R C"]


class Program(NamedTuple):
    """The compiled start and advance of a tile, for one group of configurations."""

    begin: Callable[[Tile], Carry]
    advance: Callable[[Carry, Tile, np.ndarray], tuple[Carry, RoundMetrics]]  # edges [P + 1] -> metrics [R, C, P]
    nbytes: int  # memory of a call on each device
    reacts: bool = False  # each lane has a world of its own; else all configurations of a seed share one


class Lanes(NamedTuple):
    """One tile of all seeds and configurations, with its program."""

    begin: Callable[[], Carry]
    advance: Callable[[Carry, np.ndarray], tuple[Carry, RoundMetrics]]  # edges [P + 1] -> [R, H, P], R >= num_seeds
    num_seeds: int  # without the padding that makes rows divisible by devices


def seed_keys(root: Key[Array, ""], seeds: UInt32[Array, " R"]) -> Key[Array, " R"]:
    """Key of every seed: fold_in(root, seed)."""
    return jax.vmap(partial(jax.random.fold_in, root))(seeds)


def layout(
    num_configs: int,
    num_seeds: int,
    *,
    num_devices: int = 1,
    columns: int | None = None,
    max_lanes: int | None = None,
) -> list[Tile]:
    """Spread all (seed, configuration) pairs over tiles of one shape, whose rows the devices can share evenly.

    `columns` configurations form a row; by default as many as keep all devices busy, at best all of them. A tile has
    at most `max_lanes` lanes, as far as that leaves one for each device.
    """
    if columns is None:
        splits = range(1, min(num_devices, num_configs) + 1)
        cost = [(ceil_div(num_seeds * split, num_devices) * ceil_div(num_configs, split), split) for split in splits]
        columns = ceil_div(num_configs, min(cost)[1])
    if max_lanes is not None:
        columns = min(columns, max(1, max_lanes // num_devices))
    rows = num_seeds * ceil_div(num_configs, columns)
    rows_per_device = ceil_div(rows, num_devices)
    if max_lanes is not None:
        rows_per_device = min(rows_per_device, max(1, max_lanes // columns // num_devices))
    count = ceil_div(rows, rows_per_device * num_devices)
    return tiles(num_configs, num_seeds, ceil_div(rows, count * num_devices) * num_devices, columns)


def tiles(num_configs: int, num_seeds: int, rows: int, columns: int) -> list[Tile]:
    """Fill tiles [rows, columns] with all pairs, seed after seed."""
    split = ceil_div(num_configs, columns)
    configs = np.pad(np.arange(num_configs), (0, split * columns - num_configs), constant_values=-1)
    count = ceil_div(num_seeds * split, rows)
    rest = count * rows - num_seeds * split
    seed = np.pad(np.repeat(np.arange(num_seeds), split), (0, rest))
    config = np.pad(np.tile(configs.reshape(split, columns), (num_seeds, 1)), ((0, rest), (0, 0)), constant_values=-1)
    return [Tile(*parts) for parts in zip(np.split(seed, count), np.split(config, count), strict=True)]


def compile_tiles(
    root: Key[Array, ""],
    simulation: Simulation,
    *,
    num_seeds: int,
    num_points: int,
    columns: int | None = None,
    max_lanes: int | None = None,
) -> tuple[Program, list[Tile]]:
    """Lay all lanes out over all devices and compile; lanes that do not fit the memory are cut into more tiles.

    Raises:
        InputError: not even one lane for each device fits.
    """
    devices, most = _devices_for(size(simulation.grid) * num_seeds), max_lanes
    budget = processes.least(memory.budget(jax.local_devices()[0]))  # so that all processes cut the same tiles
    while True:
        lanes = layout(size(simulation.grid), num_seeds, num_devices=len(devices), columns=columns, max_lanes=most)
        shape = lanes[0].config.shape
        program = compile_program(root, simulation, shape, num_points=num_points, devices=devices)
        if program.nbytes <= budget:
            return program, lanes
        if math.prod(shape) <= len(devices):
            raise InputError(
                f"batch_size is {simulation.batch_size}: one lane takes {program.nbytes / 2**30:,.1f} GiB, but a "
                f"device has {budget / 2**30:,.1f} GiB for it; allowed: a smaller batch or model"
            )
        most = max(len(devices), min(math.prod(shape) - 1, int(0.9 * math.prod(shape) * budget / program.nbytes)))


def compile_program(
    root: Key[Array, ""],
    simulation: Simulation,
    shape: tuple[int, ...],
    *,
    num_points: int,
    devices: Sequence[jax.Device],
) -> Program:
    """Compile the start of a tile [R, C], and its advance by `num_points` points of the learning curves."""
    lowered = lower_program(
        simulation, shape, key_impl=str(jax.random.key_impl(root)), num_points=num_points, devices=devices
    )
    begin, advance = (program.compile() for program in lowered)  # all is traced, and so refused, first
    mesh = _mesh(devices)
    put = partial(_put, NamedSharding(mesh, LANES))
    data, params = _put(NamedSharding(mesh, EVERYWHERE), (jax.random.key_data(root), simulation.params))
    values = {name: np.asarray(column, np.float32) for name, column in simulation.grid.items()}

    def arguments(tile: Tile) -> tuple[PyTree, ...]:
        return data, put(tile.seed.astype(np.uint32)), params, put({n: v[tile.config] for n, v in values.items()})

    return Program(
        begin=lambda tile: begin(*arguments(tile)),
        advance=lambda carry, tile, edges: advance(put(carry), *arguments(tile), edges.astype(np.int32)),
        nbytes=memory.needed(advance),
        reacts=simulation.environment.reacts,
    )


def lower_program(
    simulation: Simulation, shape: tuple[int, ...], *, key_impl: str, num_points: int, devices: Sequence[jax.Device]
) -> tuple[jax.stages.Lowered, jax.stages.Lowered]:
    """Lower the start and the advance of a tile [R, C] for these devices, which need not be there."""
    mesh = _mesh(devices)
    begin_rows, advance_rows = _row_functions(simulation, shape[1], key_impl)
    shard = partial(jax.shard_map, mesh=mesh, out_specs=LANES, check_vma=False)
    common = (EVERYWHERE, LANES, EVERYWHERE, LANES)
    begin = jax.jit(shard(begin_rows, in_specs=common))
    advance = jax.jit(shard(advance_rows, in_specs=(LANES, *common, EVERYWHERE)), donate_argnums=0)

    def like(spec: PartitionSpec, tree: PyTree) -> PyTree:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    root = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=key_impl)))
    grid = {name: jax.ShapeDtypeStruct(shape, np.float32) for name in simulation.grid}
    seeds, edges = (
        jax.ShapeDtypeStruct((n,), dtype) for n, dtype in ((shape[0], np.uint32), (num_points + 1, np.int32))
    )
    arguments = like(EVERYWHERE, root), like(LANES, seeds), like(EVERYWHERE, simulation.params), like(LANES, grid)
    with platforms.compiling_for(*{device.platform for device in devices}):
        carry = like(LANES, jax.eval_shape(begin, *arguments))
        return begin.lower(*arguments), advance.lower(carry, *arguments, like(EVERYWHERE, edges))


def _devices_for(num_lanes: int) -> list[jax.Device]:
    """All devices; of the CPU's not more than lanes, since a filler would take its core from a lane."""
    devices = jax.devices()
    return devices[:num_lanes] if devices[0].platform == "cpu" and jax.process_count() == 1 else devices


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), ("lanes",))


def compile_lanes(
    root: Key[Array, ""],
    simulation: Simulation,
    *,
    num_seeds: int,
    num_points: int,
    devices: Sequence[jax.Device] | None = None,
) -> Lanes:
    """Compile one tile with a row for each seed, as a library or a benchmark wants it: no memory is looked at."""
    devices = (jax.devices() if devices is None else devices)[:num_seeds]
    columns = size(simulation.grid)
    (tile,) = layout(columns, num_seeds, num_devices=len(devices), columns=columns)
    program = compile_program(root, simulation, tile.config.shape, num_points=num_points, devices=devices)
    return Lanes(
        begin=lambda: program.begin(tile),
        advance=lambda carry, edges: program.advance(carry, tile, edges),
        num_seeds=num_seeds,
    )


def carry_shapes(simulation: Simulation, shape: tuple[int, ...]) -> Carry:
    """Shapes of the state of a tile [R, C], as a checkpoint holds them."""
    key = jax.random.key(0)
    begin, _ = _row_functions(simulation, shape[1], str(jax.random.key_impl(key)))
    values = {name: jax.ShapeDtypeStruct(shape, np.float32) for name in simulation.grid}
    seeds = np.zeros(shape[0], np.uint32)
    return jax.eval_shape(begin, jax.random.key_data(key), seeds, simulation.params, values)


def _row_functions(
    simulation: Simulation, columns: int, key_impl: str
) -> tuple[Callable[..., Carry], Callable[..., tuple[Carry, RoundMetrics]]]:
    """Make the start and the advance of a tile: one lane, over the configurations of a row, then over rows."""
    environment = simulation.environment
    axes = Carry(environment=0 if environment.reacts else None, agent=0)

    def lane_of(params: PyTree, hyperparameters: Hyperparameters) -> Lane:
        return Lane(environment, params, simulation.factory(**hyperparameters), simulation.batch_size)

    def keys(root: Array, seeds: Array) -> Key[Array, " R"]:
        return seed_keys(prng.fused(jax.random.wrap_key_data(root, impl=key_impl)), seeds)

    def begin(root: Array, seeds: Array, params: PyTree, grid: Mapping[str, Array]) -> Carry:
        def lane(key: Key[Array, ""], hyperparameters: Hyperparameters) -> Carry:
            return rounds.start(key, lane_of(params, hyperparameters))

        row = jax.vmap(lane, (None, 0), axes, axis_size=columns)
        return jax.vmap(row)(keys(root, seeds), grid)

    def advance(
        carry: Carry, root: Array, seeds: Array, params: PyTree, grid: Mapping[str, Array], edges: Array
    ) -> tuple[Carry, RoundMetrics]:
        # The loop is around the lanes: JAX would batch each operation of a loop inside of them many times over.
        lane = partial(rounds.round_of, partial(lane_of, params))
        row = jax.vmap(lane, (None, 0, axes, None), (axes, 0), axis_size=columns)
        step = partial(jax.vmap(row, (0, 0, 0, None)), keys(root, seeds), grid)
        carry, metrics = rounds.loop(step, (len(seeds), columns), carry, edges)
        return carry, jax.tree.map(lambda points: jnp.moveaxis(points, 0, -1), metrics)

    return begin, advance


def _put(sharding: NamedSharding, tree: PyTree) -> PyTree:
    """Place host arrays on the devices of all processes; each process holds the whole tree and gives its part."""

    def place(leaf: Array | np.ndarray) -> Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
            return leaf
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree)


def size(grid: Grid) -> int:
    """Number of configurations; an agent without traced hyperparameters has one."""
    return next((len(values) for values in grid.values()), 1)
