"""Count the cycles of one TPU operation from its final instruction bundles: a bundle is a cycle, loops are turned.

The TPU compiler estimates no cycles for gathers and Pallas kernels, but it writes their machine code where it is asked
to (LIBTPU_INIT_ARGS of targets.py), as text. Here the scalar instructions that decide branches are carried out, and
the bundles on the way are counted. What waits for memory outside the chip's own is not counted.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from operator import add, and_, eq, ge, gt, le, lt, mul, ne, or_, sub, xor
from typing import Any, NamedTuple

BUNDLE = re.compile(r"^ *(0x[0-9a-f]+|0) +(?:[A-Z]{2})?: *>* *", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
REGION = re.compile(r"Start(?:/End empty)? region (\d+)")
INSTRUCTION = re.compile(r"^(%[\w.]+) = ([\w.]+)\s*(.*)$", re.DOTALL)
PREDICATE = re.compile(r"^\((!?%p\w+)(?:, *(%\w+))?\), *")
SLOT = re.compile(r"\[(?:smem:)?\[#allocation\d+_spill\]\]")
NAME = re.compile(r"%[sp]\d+_[sp]\d+")
DELAY = re.compile(r"\bvdelay (\d+)")
DELAY_SLOTS = 4  # bundles after a branch that are carried out whether it is taken or not
MOST_STEPS = 20_000_000
WORD = 2**32

NUMBERS: dict[str, Callable[[int, int], int]] = {
    "sadd": add, "ssub": sub, "smul": mul, "sand": and_, "sor": or_, "sxor": xor, "scalar_lea": add,
    "sshll": lambda a, b: a << (b % 32),
    "sshrl": lambda a, b: a >> (b % 32),
    "sshra": lambda a, b: signed(a) >> (b % 32),
}  # fmt: skip
COMPARISONS = {"lt": lt, "le": le, "gt": gt, "ge": ge, "eq": eq, "ne": ne}
Value = int | None  # None: not known before the program runs


class Scalar(NamedTuple):
    """An instruction on which branches depend."""

    target: str  # a register, or the slot of a spilled one
    opcode: str
    operands: tuple[str | Value, ...]
    predicate: str | None
    reads: tuple[str, ...]  # names of values
    makes: str


class Bundle(NamedTuple):
    scalars: tuple[Scalar, ...]
    branch: tuple[str, int] | None  # its predicate, and the bundle to go on with
    delay: int


class Count(NamedTuple):
    cycles: int | None
    unknown: int  # branches that depend on data; they were not taken
    finished: bool


def count(text: str) -> Count:
    """Count the bundles carried out from the first to the last."""
    program = bundles(text)
    cost = [0]  # of all bundles before this one
    for bundle in program:
        cost.append(cost[-1] + 1 + bundle.delay)
    stops = [len(program)] * (len(program) + 1)  # the next bundle at which something must be done
    for i in reversed(range(len(program))):
        stops[i] = i if program[i].scalars or program[i].branch else stops[i + 1]
    registers: dict[str, Value] = {}
    place, cycles, unknown = 0, 0, 0
    for _ in range(MOST_STEPS):
        stop = stops[place]
        cycles += cost[stop] - cost[place]
        if stop == len(program):
            return Count(cycles, unknown, finished=True)
        bundle = program[stop]
        taken = holds(bundle.branch[0], registers) if bundle.branch else False
        carry_out(bundle.scalars, registers)
        unknown += taken is None
        place = stop + 1
        cycles += cost[place] - cost[stop]
        if taken:
            end = min(place + DELAY_SLOTS, len(program))
            for slot in program[place:end]:
                carry_out(slot.scalars, registers)
            cycles += cost[end] - cost[place]
            place = bundle.branch[1]
    return Count(cycles, unknown, finished=False)


def bundles(text: str) -> list[Bundle]:
    """Read the program and keep what decides its branches."""
    starts = [*BUNDLE.finditer(text)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    bodies = [text[match.end() : end] for match, end in zip(starts, ends, strict=True)]
    # A region that nobody names is at the last bundle, whose comment says something else.
    regions = defaultdict(lambda: len(bodies) - 1)
    regions |= {int(n): i for i, body in reversed([*enumerate(bodies)]) for n in REGION.findall(body)}
    made: list[list[Scalar]] = []
    branches: list[tuple[str, int] | None] = []
    for body in bodies:
        parts = [part.strip(" {}\n") for part in COMMENT.sub("", body).split(";;")]
        branch = next((found for part in parts if (found := branch_of(part, regions))), None)
        branches.append(branch)
        made.append([scalar for part in parts if (scalar := scalar_of(part))])
    wanted = needed((branch[0].lstrip("!") for branch in branches if branch), made)
    return [
        Bundle(tuple(s for s in scalars if s.makes in wanted), branch, sum(map(int, DELAY.findall(body))))
        for scalars, branch, body in zip(made, branches, bodies, strict=True)
    ]


def branch_of(part: str, regions: dict[int, int]) -> tuple[str, int] | None:
    found = re.search(r"= sbr\.rel (?:\((!?%\w+)\) )?target = \$region(\d+)", part)
    return (found[1] or "always", regions[int(found[2])]) if found else None


def scalar_of(part: str) -> Scalar | None:
    """Read an instruction that makes a whole number or a predicate, or spills one."""
    found = INSTRUCTION.match(part)
    if found is None or found[2] == "sphi":  # a phi's operands share its register: nothing moves
        return phi(found) if found else None
    made, opcode, rest = found.groups()
    predicate, old = None, None
    if match := PREDICATE.match(rest):
        predicate, old, rest = match[1], match[2], rest[match.end() :]
    slot = SLOT.search(rest)
    if opcode == "sst" and slot:
        made, rest = slot[0], rest[slot.end() :]
    elif not NAME.fullmatch(made):
        return None
    operands = (slot[0],) if opcode == "sld" and slot else tuple(map(operand, rest.split(",")))
    reads = NAME.findall(rest) + ([slot[0]] if opcode == "sld" and slot else [])
    reads += [name for name in (predicate and predicate.lstrip("!"), old) if name]
    return Scalar(register(made), opcode, operands, predicate, tuple(reads), made)


def phi(found: re.Match[str]) -> Scalar:
    return Scalar("", "sphi", (), None, tuple(NAME.findall(found[3])), found[1])


def operand(text: str) -> str | Value:
    text = text.strip()
    if NAME.fullmatch(text.lstrip("!")):
        return ("!" if text.startswith("!") else "") + register(text.lstrip("!"))
    return int(text, 0) % WORD if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", text) else None


def register(name: str) -> str:
    return name.rsplit("_", 1)[1] if NAME.fullmatch(name) else name


def needed(predicates: Iterable[str], made: list[list[Scalar]]) -> set[str]:
    """Names of all values on which these predicates depend; a spilled value's slot is such a name."""
    readers: dict[str, list[Scalar]] = {}
    for scalar in (scalar for scalars in made for scalar in scalars):
        readers.setdefault(scalar.makes, []).append(scalar)
    wanted, left = set(), list(predicates)
    while left:
        name = left.pop()
        if name not in wanted:
            wanted.add(name)
            left += [read for scalar in readers.get(name, ()) for read in scalar.reads]
    return wanted


def carry_out(scalars: tuple[Scalar, ...], registers: dict[str, Value]) -> None:
    """All instructions of a bundle read before any of them writes."""
    results = []
    for scalar in scalars:
        if scalar.opcode == "sphi":
            continue
        allowed = True if scalar.predicate is None else holds(scalar.predicate, registers)
        if allowed is not False:
            results.append((scalar.target, result(scalar, registers) if allowed else None))
    registers.update(results)


def holds(predicate: str, registers: dict[str, Value]) -> bool | None:
    if predicate == "always":
        return True
    value = registers.get(register(predicate.lstrip("!")))
    return None if value is None else bool(value) != predicate.startswith("!")


def result(scalar: Scalar, registers: dict[str, Value]) -> Value:
    kind, *more = scalar.opcode.split(".")
    values = [read(operand, registers) for operand in scalar.operands]
    if kind in ("por", "pand", "pnand", "pneg", "pxor", "pnor"):
        return logic(kind, values)
    if kind == "scalar_select":
        return None if values[0] is None else values[1] if values[0] else values[2]
    if kind in ("smov", "sst", "sld"):
        return values[0] if kind != "sld" or isinstance(scalar.operands[0], str) else None
    if None in values or not values:
        return None
    if kind == "scmp":
        return int(COMPARISONS[more[0]](*(map(signed, values) if more[1] == "s32" else values)))
    return NUMBERS[kind](*values) % WORD if kind in NUMBERS and len(values) == 2 else None


def logic(kind: str, values: list[Value]) -> Value:
    if kind == "pneg":
        return None if values[0] is None else int(not values[0])
    if kind == "pxor":
        return None if None in values else int(bool(values[0]) != bool(values[1]))
    decides = kind in ("por", "pnor")  # one operand of this value is enough
    known = [bool(value) for value in values if value is not None]
    if decides not in known and len(known) < len(values):
        return None
    either = decides in known
    return int(either == decides) if kind in ("por", "pand") else int(either != decides)


def read(operand: Any, registers: dict[str, Value]) -> Value:
    if not isinstance(operand, str):
        return operand
    value = registers.get(operand.lstrip("!"))
    return value if value is None or not operand.startswith("!") else int(not value)


def signed(value: int) -> int:
    return value - WORD if value >= WORD // 2 else value
