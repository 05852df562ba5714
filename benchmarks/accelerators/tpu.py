"""Cycles of a round on a TPU, by the compiler's own estimates and by the bundles of its final code.

The compiler estimates most operations and says so in the HLO; gathers and Pallas kernels it does not, so they count by
their bundles (see bundles.py). The bundles of all operations are summed beside that: they are what the chip will issue,
where the estimates are a rough plan made before the code was; neither knows how long memory outside the chip lets wait.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import bundles
from hlo import Executed, Module, Operation, shapes

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all", "partition-id"}
FREE |= {"copy-start", "copy-done", "slice-start", "slice-done", "opt-barrier", "replica-id"}  # beside other work
MADE_UP = re.compile(r'custom_call_target="(ConcatBitcast|AllocateBuffer|AssumeGatherIndicesInBound|Sharding)"')
DUMP = re.compile(r"^(\d+)-(.*)-\d+-final_bundles\.txt$")
DEAREST = 10


class Cost(NamedTuple):
    """Of one operation, once."""

    estimate: int | None
    bundles: int | None
    certain: bool  # no branch of these bundles depends on data

    @property
    def cycles(self) -> int | None:
        return self.bundles if self.estimate is None else self.estimate


def summary(hlo: str, dumps: Path) -> dict[str, Any]:
    """Add up what one turn of the loop over rounds costs."""
    module = Module(hlo)
    body = module.loop_over_rounds().body
    code = final_code(module, dumps)

    def cost_of(computation: str, op: Operation) -> Cost:
        if op.opcode in FREE or MADE_UP.search(op.attributes):
            return Cost(0, 0, certain=True)
        counted = code.get(op.name) or code.get(likeness(module, computation, op)) or bundles.Count(None, 0, True)
        return Cost(estimate(op), counted.cycles, not counted.unknown and counted.finished)

    def price(done: list[Executed]) -> float:
        return sum(times * (cost_of(computation, op).cycles or 0) for computation, op, times in done)

    spent: list[tuple[float, Operation, float, Cost]] = []
    missing: list[str] = []
    for computation, op, times in module.executed(body, price):
        cost = cost_of(computation, op)
        if cost.cycles is None and any(max(sizes, default=1) > 1 for _, sizes in shapes(op.type)):
            missing.append(f"{op.name} {short(op)}")
        elif cost.cycles:
            spent.append((times * cost.cycles, op, times, cost))
    own = [item for item in spent if item[-1].estimate is None]
    return {
        "cycles_per_round": round(sum(cycles for cycles, *_ in spent)),
        "of_them_counted_from_bundles": round(sum(cycles for cycles, *_ in own)),
        "bundles_per_round": round(sum(times * (cost.bundles or cost.estimate or 0) for _, _, times, cost in spent)),
        "kernels_per_round": round(sum(times for _, _, times, _ in spent)),
        "loops": [
            {"trips": loop.trips, "source": module.source(loop.operation)}
            for name in (body, *(loop.body for loop in module.loops(body)))
            for loop in module.loops(name)
        ],
        "collectives_in_loop": module.collectives(body),
        "not_counted": missing,
        "uncertain": [f"{op.name} {short(op)}" for _, op, _, cost in own if not cost.certain],
        "dearest": dearest(module, spent, lambda item: item[0]),
        "dearest_by_bundles": dearest(module, spent, lambda item: item[2] * (item[3].bundles or 0)),
    }


def dearest(module: Module, spent: list[tuple[float, Operation, float, Cost]], by: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": op.name,
            "opcode": op.opcode,
            "type": short(op),
            "times": times,
            "cycles": cycles,
            "estimate_once": cost.estimate,
            "bundles_once": cost.bundles,
            "source": module.source(op),
        }
        for cycles, op, times, cost in sorted(spent, key=by, reverse=True)[:DEAREST]
    ]


def short(op: Operation) -> str:
    """Write the type without tilings."""
    return ", ".join(f"{kind}[{','.join(map(str, sizes))}]" for kind, sizes in shapes(op.type))


def estimate(op: Operation) -> int | None:
    found = re.search(r'"estimated_cycles":"?(\d+)', op.attributes)
    return int(found[1]) if found else None


def final_code(module: Module, dumps: Path) -> dict[Any, bundles.Count]:
    """Count every operation with code of its own, by its name and by what it looks like: equal ones share code."""
    stands = {op.name: (name, op) for name, ops in module.computations.items() for op in ops.values()}
    files = sorted((match[1], match[2], path) for path in dumps.iterdir() if (match := DUMP.match(path.name)))
    found: dict[Any, bundles.Count] = {}
    for _, name, path in files:  # of several tries the last counts
        if name in stands:
            found[name] = found[likeness(module, *stands[name])] = bundles.count(path.read_text())
    return found


def likeness(module: Module, computation: str, op: Operation) -> tuple[Any, ...]:
    ops = module.computations[computation]
    return op.opcode, op.attribute("kind"), op.type, tuple(ops[name].type for name in op.operands if name in ops)
