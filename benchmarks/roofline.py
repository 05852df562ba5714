"""How far LinUCB in mf-per-arm is from what the machine could do at best.

Operations and bytes of an interaction are counted by hand from the shapes, beside XLA's own count, which takes the body
of a loop once. The peaks of the machine are measured in the same process: a large matrix product, and a triad of
arrays, once too large for any cache and once small enough. JSON lines; about a minute.
Run: python benchmarks/roofline.py [--ratings ml-100k] [--out benchmarks/results/roofline.jsonl]
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measuring import ALPHAS, Report, lanes_runner, timed
from throughput import CASES, world_of

from jaxbandit.data import load
from jaxbandit.simulation import rounds as simulate
from jaxbandit.simulation.lanes import Simulation

NAMES = ("reference", "batch 4096", "sweep")
MATRIX, VECTOR, CACHED, REPEATS = 4096, 2**26, 2**16, 5
ROUNDS_IN_CACHE = 2000
F32 = 4  # bytes
THREEFRY = 58  # integer operations for a random word: 20 rounds of add, rotate (3), xor and 5 key injections make two


class Work(NamedTuple):
    """Of one interaction, but for the last."""

    flops: float
    bytes: float
    integers: float  # operations that draw users and arms
    state_bytes: float = 0  # of all lanes together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", default="synth-100k", help="name or path")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    arguments = parser.parse_args()
    report, name = Report(arguments.out), load(arguments.ratings).name
    peak = peaks()
    report.add(case="peaks", **peak)
    for case in NAMES:
        changes, batch_size, configurations, seeds, rounds, repeats = CASES[case]
        simulation = world_of(arguments.ratings, changes)
        size = {"batch_size": batch_size, "configurations": configurations, "seeds": seeds}
        runner = lanes_runner(simulation, **size)
        seconds = float(np.median(timed([partial(runner.advance, rounds)], repeats)[0])) / (runner.per_round * rounds)
        work = count(simulation, **size)
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(simulation.params)) + work.state_bytes
        place = "cache" if held < last_level_cache() else "memory"
        least = {
            "compute": (work.flops + work.integers) / peak["flops_per_second"],
            "bytes": work.bytes / peak[f"{place}_bytes_per_second"],
        }
        counted = {"by_hand": work._asdict(), "by_xla": xla_count(simulation, **size)}
        bound = max(least, key=least.__getitem__)
        off = {"least_seconds": least, "bound": bound, "times_the_bound": seconds / least[bound]}
        held_in = {"working_set_mb": held / 1e6, "held_in": place}
        report.add(case=case, ratings=name, **size, seconds=seconds, **counted, **held_in, **off)
    report.write()


def count(simulation: Simulation, *, batch_size: int, configurations: int, seeds: int) -> Work:
    """Count what LinUCB on [user; arm] cannot do without, x'Px split into a user, a cross and an item term.

    Products are dense, 2 m n k. Every array is read and written once a round; what all configurations of a seed share
    (users, arms, rewards) is counted once for all of them. Integers: a random word for the user, for each arm and for
    ties, and a comparison and a choice for each pair of arms, which must differ.
    """
    b, (k, u, v) = batch_size, simulation.environment.spec[:3]
    params, d, pairs = simulation.params, u + v, v * (v + 1) // 2
    n, r = len(params.catalogue.features), params.user_reward.shape[1]
    draw = Work(
        flops=2 * b * k * r + b * k, bytes=F32 * b * (u + r + k * v), integers=b * (THREEFRY * (k + 2) + k * (k - 1))
    )
    solve = 2 * d**3 / 3 + d**3 / 3 + 4 * d**2  # Cholesky and inverse of the factor; P = L'^-1 L^-1; theta
    items, per_item = min((n, v + pairs), (b * k, v + v * (v + 1)), key=lambda way: way[0] * way[1])
    of_users = b * (2 * u + 2 * u * (u + 1) + 2 * u * v)  # mean, u'P11u, 2 u'P12
    of_arms = b * k * (2 * v + 6) + b * k  # the cross term, sum, root, and the maximum
    update = b * (2 * d**2 + 2 * d)
    lane = Work(
        flops=solve + 2 * items * per_item + of_users + of_arms + update,
        bytes=F32 * (2 * (d**2 + d) + 2 * items + 2 * b * k + 4 * b),
        integers=0,
    )
    tables = F32 * n * (v + pairs) if items == n else 0  # of the catalogue, read once for all lanes
    lanes = configurations * seeds
    flops, moved, integers, _ = (seeds * a + lanes * c for a, c in zip(draw, lane, strict=True))
    return Work(*(x / (lanes * b) for x in (flops, moved + tables, integers)), state_bytes=F32 * lanes * (d**2 + d))


def xla_count(simulation: Simulation, *, batch_size: int, configurations: int, seeds: int) -> dict[str, float]:
    """XLA's cost analysis of the compiled rounds: the loop over rounds counts once, and so do the loops in a round."""
    grid = {name: jnp.broadcast_to(values, (configurations,)) for name, values in simulation.grid.items()}
    grid["alpha"] = jnp.geomspace(*ALPHAS, configurations)

    def lane(key: Any, params: Any, edges: Any, hyperparameters: dict[str, Any]) -> Any:
        lane = simulate.Lane(simulation.environment, params, simulation.factory(**hyperparameters), batch_size)
        return simulate.simulate(key, lane, simulate.start(key, lane), edges)

    over_configurations = jax.vmap(lane, in_axes=(None, None, None, 0))
    program = jax.jit(jax.vmap(over_configurations, in_axes=(0, None, None, None)))
    keys = jax.random.split(jax.random.key(0), seeds)
    cost = program.lower(keys, simulation.params, np.array([0, 1], np.int32), grid).compile().cost_analysis()
    interactions = configurations * seeds * batch_size
    return {"flops": cost["flops"] / interactions, "bytes": cost["bytes accessed"] / interactions}


def peaks() -> dict[str, float]:
    """The best of a few repeats each."""
    matrix, vector, cached = jnp.ones((MATRIX, MATRIX)), jnp.ones(VECTOR), jnp.ones(CACHED)
    product = jax.jit(partial(jnp.matmul, precision="highest"))
    triad = jax.jit(lambda a, b: a + 3.0 * b)
    loop = jax.jit(lambda a, b: jax.lax.fori_loop(0, ROUNDS_IN_CACHE, lambda _, a: b + 0.5 * a, a))
    works = [
        lambda: jax.block_until_ready(product(matrix, matrix)),
        lambda: jax.block_until_ready(triad(vector, vector)),
        lambda: jax.block_until_ready(loop(cached, cached)),
    ]
    timed(works, 1)
    best = [min(seconds) for seconds in timed(works, REPEATS)]
    return {
        "flops_per_second": 2 * MATRIX**3 / best[0],
        "memory_bytes_per_second": 3 * F32 * VECTOR / best[1],
        "cache_bytes_per_second": 3 * F32 * CACHED * ROUNDS_IN_CACHE / best[2],
    }


def last_level_cache() -> int:
    """Bytes, as Linux knows them; 0 elsewhere, and on accelerators, so that memory is the roof there."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    if jax.default_backend() != "cpu":
        return 0
    return max((1024 * int(size.read_text().strip().removesuffix("K")) for size in sizes), default=0)


if __name__ == "__main__":
    main()
