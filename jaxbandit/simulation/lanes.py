"""Lanes: simulations side by side in one compiled, sharded program. No other module of the simulation calls `jax.jit`.

A call simulates a tile of lanes [R, C]: R rows, each of one seed, and in each row C configurations of traced
hyperparameters. The configurations of a row share the seed's key, so they meet the same users and arms, and what is
common to them is computed once. Rows are sharded over the devices; nothing is exchanged between devices inside the
loop. Which seeds and configurations a tile holds is data, so one program serves all tiles of one shape.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxbandit._core import memory, processes
from jaxbandit._core.errors import InputError
from jaxbandit.simulation import rounds
from jaxbandit.simulation.metrics import RoundMetrics
from jaxbandit.simulation.rounds import Carry
from jaxbandit.types import Agent, Environment

Grid = Mapping[str, Float[Array | np.ndarray, " H"]]
One = Mapping[str, Float[Array, ""]]  # configuration


class Tile(NamedTuple):
    """Lanes of one call. Those of configuration -1 only fill it up."""

    seed: Int[np.ndarray, " R"]
    config: Int[np.ndarray, "R C"]


class Program(NamedTuple):
    """The compiled start and advance of a tile, for one static configuration."""

    begin: Callable[[Tile], Carry]
    advance: Callable[[Carry, Tile, np.ndarray], tuple[Carry, RoundMetrics]]  # edges [W + 1] -> metrics [R, C, W]
    nbytes: int  # memory of a call on each device


class Lanes(NamedTuple):
    """One tile of all seeds and configurations, with its program."""

    begin: Callable[[], Carry]
    advance: Callable[[Carry, np.ndarray], tuple[Carry, RoundMetrics]]  # edges [W + 1] -> metrics [S, H, W]
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
        cost = [(-(-num_seeds * split // num_devices) * -(-num_configs // split), split) for split in splits]
        columns = -(-num_configs // min(cost)[1])
    if max_lanes is not None:
        columns = min(columns, max(1, max_lanes // num_devices))
    rows = num_seeds * -(-num_configs // columns)
    share = -(-rows // num_devices)  # rows of a device
    if max_lanes is not None:
        share = min(share, max(1, max_lanes // columns // num_devices))
    count = -(-rows // (share * num_devices))
    return tiles(num_configs, num_seeds, -(-rows // (count * num_devices)) * num_devices, columns)


def tiles(num_configs: int, num_seeds: int, rows: int, columns: int) -> list[Tile]:
    """Fill tiles [rows, columns] with all pairs, seed after seed."""
    split = -(-num_configs // columns)
    configs = np.pad(np.arange(num_configs), (0, split * columns - num_configs), constant_values=-1)
    count = -(-num_seeds * split // rows)
    rest = count * rows - num_seeds * split
    seed = np.pad(np.repeat(np.arange(num_seeds), split), (0, rest))
    config = np.pad(np.tile(configs.reshape(split, columns), (num_seeds, 1)), ((0, rest), (0, 0)), constant_values=-1)
    return [Tile(*parts) for parts in zip(np.split(seed, count), np.split(config, count), strict=True)]


def compile_tiles(
    root: Key[Array, ""],
    environment: Environment,
    params: Any,
    factory: Callable[..., Agent],
    grid: Grid,
    *,
    batch_size: int,
    num_seeds: int,
    num_rows: int,
    columns: int | None = None,
    max_lanes: int | None = None,
) -> tuple[Program, list[Tile]]:
    """Lay all lanes out over all devices and compile; lanes that do not fit the memory are cut into more tiles.

    Raises:
        InputError: not even one lane for each device fits.
    """
    devices, most = jax.devices(), max_lanes
    budget = processes.least(memory.budget(jax.local_devices()[0]))  # so that all processes cut the same tiles
    while True:
        lanes = layout(size(grid), num_seeds, num_devices=len(devices), columns=columns, max_lanes=most)
        shape = lanes[0].config.shape
        program = compile_program(
            root,
            environment,
            params,
            factory,
            grid,
            shape,
            batch_size=batch_size,
            num_rows=num_rows,
            devices=devices,
        )
        if program.nbytes <= budget:
            return program, lanes
        if math.prod(shape) <= len(devices):
            raise InputError(
                f"batch_size is {batch_size}: one lane takes {program.nbytes / 2**30:,.1f} GiB, but a device has "
                f"{budget / 2**30:,.1f} GiB for it; allowed: a smaller batch or model"
            )
        most = max(len(devices), min(math.prod(shape) - 1, int(0.9 * math.prod(shape) * budget / program.nbytes)))


def compile_program(
    root: Key[Array, ""],
    environment: Environment,
    params: Any,
    factory: Callable[..., Agent],
    grid: Grid,
    shape: tuple[int, ...],
    *,
    batch_size: int,
    num_rows: int,
    devices: list[jax.Device],
) -> Program:
    """Compile the start of a tile [R, C] and its advance by `num_rows` rows of rounds.

    `factory(**hyperparameters) -> Agent` is called inside the trace with one value of each entry of `grid`.
    """
    mesh = Mesh(np.array(devices), ("lanes",))
    lanes, everywhere = PartitionSpec("lanes"), PartitionSpec()
    begin_rows, advance_rows = _row_functions(environment, factory, batch_size, shape[1], jax.random.key_impl(root))
    shard = partial(jax.shard_map, mesh=mesh, out_specs=lanes, check_vma=False)
    common = (everywhere, lanes, everywhere, lanes)
    begin = jax.jit(shard(begin_rows, in_specs=common))
    advance = jax.jit(shard(advance_rows, in_specs=(lanes, *common, everywhere)), donate_argnums=0)

    put = partial(_put, NamedSharding(mesh, lanes))
    data, shared = _put(NamedSharding(mesh, everywhere), (jax.random.key_data(root), params))
    values = {name: np.asarray(column, np.float32) for name, column in grid.items()}

    def arguments(tile: Tile) -> tuple[Any, ...]:
        return data, put(tile.seed.astype(np.uint32)), shared, put({n: v[tile.config] for n, v in values.items()})

    sample = arguments(Tile(np.zeros(shape[0], int), np.zeros(shape, int)))
    edges = np.zeros(num_rows + 1, np.int32)
    lowered = begin.lower(*sample), advance.lower(jax.eval_shape(begin, *sample), *sample, edges)
    begin_program, advance_program = (program.compile() for program in lowered)  # all is traced, and so refused, first
    return Program(
        begin=lambda tile: begin_program(*arguments(tile)),
        advance=lambda carry, tile, edges: advance_program(put(carry), *arguments(tile), edges.astype(np.int32)),
        nbytes=memory.needed(advance_program),
    )


def compile_lanes(
    root: Key[Array, ""],
    environment: Environment,
    params: Any,
    factory: Callable[..., Agent],
    grid: Grid,
    *,
    batch_size: int,
    num_seeds: int,
    num_rows: int,
    devices: list[jax.Device] | None = None,
) -> Lanes:
    """Compile one tile with a row for each seed, as a library or a benchmark wants it: no memory is looked at."""
    devices = (jax.devices() if devices is None else devices)[:num_seeds]
    (tile,) = layout(size(grid), num_seeds, num_devices=len(devices), columns=size(grid))
    sizes = {"batch_size": batch_size, "num_rows": num_rows}
    program = compile_program(root, environment, params, factory, grid, tile.config.shape, **sizes, devices=devices)
    return Lanes(
        begin=lambda: program.begin(tile),
        advance=lambda carry, edges: program.advance(carry, tile, edges),
        num_seeds=num_seeds,
    )


def carry_shapes(
    environment: Environment, params: Any, factory: Callable[..., Agent], grid: Grid, shape: tuple[int, ...]
) -> Carry:
    """Shapes of the state of a tile [R, C], as a checkpoint holds them."""
    key = jax.random.key(0)
    begin, _ = _row_functions(environment, factory, 1, shape[1], jax.random.key_impl(key))
    values = {name: jax.ShapeDtypeStruct(shape, np.float32) for name in grid}
    return jax.eval_shape(begin, jax.random.key_data(key), np.zeros(shape[0], np.uint32), params, values)


def _row_functions(
    environment: Environment, factory: Callable[..., Agent], batch_size: int, columns: int, impl: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Vmap the start and the advance of one lane over the configurations of a row, then over rows."""
    axes = Carry(environment=0 if environment.reacts else None, agent=0)

    def keys(root: Array, seeds: Array) -> Key[Array, " R"]:
        return seed_keys(jax.random.wrap_key_data(root, impl=impl), seeds)

    def begin(root: Array, seeds: Array, params: Any, grid: Mapping[str, Array]) -> Carry:
        def lane(key: Key[Array, ""], hyperparameters: One) -> Carry:
            return rounds.start(key, environment, params, factory(**hyperparameters))

        def row(key: Key[Array, ""], grid: Mapping[str, Array]) -> Carry:
            return jax.vmap(partial(lane, key), out_axes=axes, axis_size=columns)(grid)

        return jax.vmap(row)(keys(root, seeds), grid)

    def advance(
        carry: Carry, root: Array, seeds: Array, params: Any, grid: Mapping[str, Array], edges: Array
    ) -> tuple[Carry, RoundMetrics]:
        def lane(key: Key[Array, ""], carry: Carry, hyperparameters: One) -> tuple[Carry, RoundMetrics]:
            agent = factory(**hyperparameters)
            return rounds.simulate(key, environment, params, agent, batch_size, carry, edges)

        def row(key: Key[Array, ""], carry: Carry, grid: Mapping[str, Array]) -> tuple[Carry, RoundMetrics]:
            return jax.vmap(partial(lane, key), in_axes=(axes, 0), out_axes=(axes, 0), axis_size=columns)(carry, grid)

        return jax.vmap(row)(keys(root, seeds), carry, grid)

    return begin, advance


def _put(sharding: NamedSharding, tree: Any) -> Any:
    """Place host arrays on the devices of all processes; each process holds the whole tree and gives its part."""

    def place(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
            return leaf
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree)


def size(grid: Grid) -> int:
    """Number of configurations; an agent without traced hyperparameters has one."""
    return next((len(values) for values in grid.values()), 1)
