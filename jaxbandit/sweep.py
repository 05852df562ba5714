"""Lanes: simulations side by side in one compiled, sharded program. No other module of the simulation calls `jax.jit`.

Lanes are laid out [S, H]: S seeds, H configurations of traced hyperparameters. All configurations of a seed share its
key, so they meet the same users and arms, and what is common to them is computed once. Seeds are sharded over the
devices; nothing is exchanged between devices inside the loop.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Key

from jaxbandit import simulate
from jaxbandit.metrics import RoundMetrics
from jaxbandit.simulate import Carry
from jaxbandit.types import Agent, Environment

Grid = Mapping[str, Float[Array, " H"]]
One = Mapping[str, Float[Array, ""]]  # configuration


class Lanes(NamedTuple):
    """Compiled programs and the arguments that all calls share."""

    begin: Callable[[], Carry]
    advance: Callable[[Carry, np.ndarray], tuple[Carry, RoundMetrics]]  # edges [W + 1] -> metrics [S, H, W]
    num_seeds: int  # without the padding that makes seeds divisible by devices


def seed_keys(root: Key[Array, ""], num_seeds: int) -> Key[Array, " S"]:
    """Key of every seed: fold_in(root, seed). It does not depend on how many there are."""
    return jax.vmap(partial(jax.random.fold_in, root))(jnp.arange(num_seeds, dtype=jnp.uint32))


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
    """Compile the start of all lanes and their advance by `num_rows` rows of rounds.

    `factory(**hyperparameters) -> Agent` is called inside the trace with one value of each entry of `grid`.
    """
    devices = (jax.devices() if devices is None else devices)[:num_seeds]
    mesh = Mesh(np.array(devices), ("lanes",))
    keys = seed_keys(root, -(-num_seeds // len(devices)) * len(devices))
    begin_lane, advance_lane = _lane_functions(environment, factory, batch_size)
    seeds, everywhere = PartitionSpec("lanes"), PartitionSpec()
    shard = partial(jax.shard_map, mesh=mesh, out_specs=seeds, check_vma=False)
    shared = jax.device_put((params, dict(grid)), jax.NamedSharding(mesh, everywhere))
    keys = jax.device_put(keys, jax.NamedSharding(mesh, seeds))
    begin = jax.jit(shard(begin_lane, in_specs=(seeds, everywhere, everywhere)))
    advance = jax.jit(
        shard(advance_lane, in_specs=(seeds, seeds, everywhere, everywhere, everywhere)), donate_argnums=0
    )
    edges = np.zeros(num_rows + 1, np.int32)
    lowered = begin.lower(keys, *shared), advance.lower(jax.eval_shape(begin, keys, *shared), keys, *shared, edges)
    begin_program, advance_program = (program.compile() for program in lowered)  # all is traced, and so refused, first
    place = partial(jax.device_put, device=jax.NamedSharding(mesh, seeds))
    return Lanes(
        begin=lambda: begin_program(keys, *shared),
        advance=lambda carry, edges: advance_program(place(carry), keys, *shared, edges.astype(np.int32)),
        num_seeds=num_seeds,
    )


def _lane_functions(
    environment: Environment, factory: Callable[..., Agent], batch_size: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Vmap the start and the advance of one lane over configurations, then over seeds."""
    axes = Carry(environment=0 if environment.reacts else None, agent=0)

    def begin(keys: Key[Array, " S"], params: Any, grid: Grid) -> Carry:
        def lane(key: Key[Array, ""], hyperparameters: One) -> Carry:
            return simulate.start(key, environment, params, factory(**hyperparameters))

        return _over_lanes(lane, grid, axes)(keys)

    def advance(carry: Carry, keys: Array, params: Any, grid: Grid, edges: Array) -> tuple[Carry, RoundMetrics]:
        def lane(key: Key[Array, ""], carry: Carry, hyperparameters: One) -> tuple[Carry, RoundMetrics]:
            agent = factory(**hyperparameters)
            return simulate.simulate(key, environment, params, agent, batch_size, carry, edges)

        def seed(key: Key[Array, ""], carry: Carry) -> tuple[Carry, RoundMetrics]:
            return jax.vmap(partial(lane, key), in_axes=(axes, 0), out_axes=(axes, 0), axis_size=_size(grid))(
                carry, grid
            )

        return jax.vmap(seed)(keys, carry)

    return begin, advance


def _over_lanes(lane: Callable[..., Carry], grid: Grid, axes: Carry) -> Callable[..., Carry]:
    def seed(key: Key[Array, ""]) -> Carry:
        return jax.vmap(partial(lane, key), out_axes=axes, axis_size=_size(grid))(grid)

    return jax.vmap(seed)


def _size(grid: Grid) -> int:
    """Number of configurations; an agent without traced hyperparameters has one."""
    return next((len(values) for values in grid.values()), 1)
