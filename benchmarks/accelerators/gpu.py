"""Kernels of a round on a GPU: how many, how many of them outside CUDA graphs, and about how long they take.

Counts are read off the program that XLA made: its thunks (what it launches, in which graph) and its HLO (how many bytes
and products each kernel has). Times are an estimate from these counts with the costs of a launch below, never measured.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hlo import Module, Operation, nbytes, shapes

LAUNCH, NODE, GRAPH, WAIT = 2.5, 1.0, 6.0, 15.0  # microseconds: kernel in a stream, in a graph, a graph, host waits
BANDWIDTH, PEAK = 3.35e6, 67e6  # of an H100: bytes and float32 operations per microsecond
WRITTEN = ("sequence_after_thunk_passes", "metadata")
LINE = re.compile(r"^( *)(\d+): (k\w+) *\[[^\]]*\] *(\S*)")
NAMED = re.compile(r'profile_annotation: "([^"]+)"\s+thunk_id: (\d+)')
PART = re.compile(r"^ *(condition|body):")
KERNELS = {"kKernel", "kCustomKernel", "kCopy", "kMemzero", "kMemset32BitValue", "kDynamicSliceFusion"}
WAITING = {"kWhile", "kConditional"}
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"}
DEAREST = 10


@dataclass
class Thunk:
    kind: str
    name: str
    depth: int
    body: list["Thunk"] = field(default_factory=list)
    condition: list["Thunk"] = field(default_factory=list)


class Launch(NamedTuple):
    """A thunk of a round."""

    thunk: Thunk
    times: int
    in_graph: bool


class Work(NamedTuple):
    """Of one kernel, once."""

    nbytes: int
    flops: int

    @property
    def microseconds(self) -> float:
        return max(self.nbytes / BANDWIDTH, self.flops / PEAK)


def summary(hlo: str, dumps: Path) -> dict[str, Any]:
    """Add up what one turn of the loop over rounds launches."""
    module = Module(hlo)
    loop = module.loop_over_rounds()
    rounds, turns = rounds_of(module, tree(*(one_text(dumps, f"thunk_{what}.txt") for what in WRITTEN)))
    launches = list(launched(rounds.body, turns)) + list(launched(rounds.condition, turns))
    kernels = [launch for launch in launches if launch.thunk.kind in KERNELS]
    graphs = sum(launch.times for launch in launches if launch.thunk.kind == "kCommandBuffer")
    waits = 1 + sum(launch.times for launch in launches if launch.thunk.kind in WAITING and not launch.in_graph)
    others = [launch for launch in launches if launch.thunk.kind not in KERNELS | WAITING | {"kCommandBuffer"}]
    works = {kernel_name(op): (op, work(module, computation, op)) for computation, op, _ in module.executed(loop.body)}
    spent = []
    for launch in kernels + others:
        op, done = works.get(launch.thunk.name, (None, Work(0, 0)))
        each = max(NODE if launch.in_graph else LAUNCH, done.microseconds)
        spent.append((launch.times * each, launch, op, done))
    library = sorted({launch.thunk.kind for launch in others})
    return {
        "kernels_per_round": sum(launch.times for launch in kernels + others),
        "outside_graphs": sum(launch.times for launch in kernels + others if not launch.in_graph),
        "graphs_per_round": graphs,
        "host_waits_per_round": waits,
        "library_calls": {kind: sum(one.times for one in others if one.thunk.kind == kind) for kind in library},
        "megabytes_per_round": sum(launch.times * done.nbytes for _, launch, _, done in spent) / 1e6,
        "us_per_round": sum(us for us, *_ in spent) + GRAPH * graphs + WAIT * waits,
        "loops": [{"trips": loop.trips, "source": module.source(loop.operation)} for loop in module.loops(loop.body)],
        "collectives_in_loop": module.collectives(loop.body),
        "dearest": [
            {
                "name": launch.thunk.name or launch.thunk.kind,
                "times": launch.times,
                "us": us,
                "in_graph": launch.in_graph,
                "megabytes_once": done.nbytes / 1e6,
                "type": ", ".join(f"{kind}{[*sizes]}" for kind, sizes in shapes(op.type)) if op else "",
                "source": module.source(op) if op else [],
            }
            for us, launch, op, done in sorted(spent, key=lambda item: item[0], reverse=True)[:DEAREST]
        ],
    }


def one_text(dumps: Path, ending: str) -> str:
    (path,) = dumps.glob(f"*{ending}")
    return path.read_text()


def tree(text: str, metadata: str) -> list[Thunk]:
    """Read the thunks of a program; those of a loop and of a graph are inside it. Copies are named by the metadata."""
    names = {int(number): name.replace(".", "_") for name, number in NAMED.findall(metadata)}
    top = Thunk("", "", -1)
    open_, parts = [top], {}
    for line in text.splitlines():
        if part := PART.match(line):
            is_body = part[1] == "body"  # it follows the condition of the same loop
            while open_[-1].kind != "kWhile" or (id(open_[-1]) in parts) != is_body:
                open_.pop()
            parts[id(open_[-1])] = part[1]
        elif found := LINE.match(line):
            number, kind, name = int(found[2]), found[3], found[4]
            thunk = Thunk(kind, names.get(number, kind) if name in ("", kind) else name, len(found[1]))
            while open_[-1].depth >= thunk.depth:
                open_.pop()
            parent = open_[-1]
            (parent.condition if parts.get(id(parent)) == "condition" else parent.body).append(thunk)
            open_.append(thunk)
    return top.body


def rounds_of(module: Module, thunks: list[Thunk]) -> tuple[Thunk, dict[int, int | None]]:
    """Return the loop over rounds, and how often each loop turns: loops stand in the order of the HLO."""
    turns: dict[int, int | None] = {}

    def match(computation: str, thunks: list[Thunk]) -> None:
        for loop, thunk in zip(module.loops(computation), whiles(thunks), strict=True):
            turns[id(thunk)] = loop.trips
            named[loop.operation.name] = thunk
            match(loop.body, thunk.body)

    named: dict[str, Thunk] = {}
    match(module.entry, thunks)
    return named[module.loop_over_rounds().operation.name], turns


def whiles(thunks: list[Thunk]) -> Iterator[Thunk]:
    """Yield the outermost loops among thunks, in graphs and branches too."""
    for thunk in thunks:
        if thunk.kind == "kWhile":
            yield thunk
        else:
            yield from whiles(thunk.body)


def launched(
    thunks: list[Thunk], turns: dict[int, int | None], times: int = 1, *, in_graph: bool = False
) -> Iterator[Launch]:
    """Yield all that is launched, with how often; of loops and branches those where the host waits for a condition."""
    for thunk in thunks:
        if thunk.kind == "kWhile":
            trips = turns[id(thunk)]
            if trips is None:
                yield Launch(thunk, times, in_graph)
                yield from launched(thunk.condition, turns, times, in_graph=in_graph)
            yield from launched(thunk.body, turns, times * (trips or 1), in_graph=in_graph)
        elif thunk.kind == "kCommandBuffer":
            yield Launch(thunk, times, in_graph)
            yield from launched(thunk.body, turns, times, in_graph=True)
        elif thunk.kind in ("kSequential", "kConditional"):  # of all branches
            if thunk.kind == "kConditional":
                yield Launch(thunk, times, in_graph)
            yield from launched(thunk.body, turns, times, in_graph=in_graph)
        else:
            yield Launch(thunk, times, in_graph)


def kernel_name(op: Operation) -> str:
    return op.name.replace(".", "_").replace("-", "_")


def work(module: Module, computation: str, op: Operation) -> Work:
    """Bytes that a kernel reads and writes, of slices and gathers what they touch, and operations of its products."""
    if op.opcode in FREE:
        return Work(0, 0)
    ops = module.computations[computation]
    called = op.attribute("calls") if op.opcode == "fusion" else None
    if called is None:
        read = sum(nbytes(ops[name].type) for name in op.operands if name in ops)
        return Work(read + nbytes(op.type), flops(ops, op))
    inner = module.computations[called]
    parameters = [one for one in inner.values() if one.opcode == "parameter"]
    read = sum(touched(inner, parameter) for parameter in parameters)
    return Work(read + written(inner, module.root(called)), sum(flops(inner, one) for one in inner.values()))


def touched(ops: dict[str, Operation], parameter: Operation, depth: int = 0) -> int:
    """Bytes that are read of a parameter."""
    total = 0
    for user in (op for op in ops.values() if parameter.name in op.operands):
        if user.opcode in ("dynamic-slice", "gather", "slice") and user.operands[0] == parameter.name:
            total += nbytes(user.type)
        elif user.opcode in ("bitcast", "reshape", "transpose", "copy") and depth < 4:
            total += touched(ops, user, depth + 1)
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != parameter.name:
            return nbytes(parameter.type)
    return min(total, nbytes(parameter.type))


def written(ops: dict[str, Operation], root: Operation) -> int:
    """Bytes that are written: of an update in place, those of the update."""
    while root.opcode == "bitcast":
        root = ops[root.operands[0]]
    if root.opcode == "tuple":
        return sum(written(ops, ops[name]) for name in root.operands)
    return nbytes(ops[root.operands[1]].type if root.opcode == "dynamic-update-slice" else root.type)


def flops(ops: dict[str, Operation], op: Operation) -> int:
    """Two for each product of a contraction."""
    contracted = re.search(r"lhs_contracting_dim(?:ension)?s\"?[=:][{\[]([\d,\"]*)[}\]]", op.attributes)
    if not contracted or not op.operands or op.operands[0] not in ops:
        return 0
    count = 2
    for n in shapes(op.type)[0][1]:
        count *= n
    (_, left), *_ = shapes(ops[op.operands[0]].type)
    for axis in re.findall(r"\d+", contracted[1]):
        count *= left[int(axis)]
    return count
