"""Read the text of optimised HLO: operations, trip counts of loops, and the line of the source behind an operation.

It knows nothing of cycles or kernels: those are in tpu.py and gpu.py.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{\s*$")
OPERATION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
OPCODE = re.compile(r"(?:^|\s)([a-z][\w\-]*)\(")
TABLE_ROW = re.compile(r"^(\d+) (.*)$")
TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
SAME = {"copy", "bitcast", "reshape", "convert", "optimization-barrier", "opt-barrier", "copy-start", "copy-done"}
ONCE_IN = re.compile(r'op_name="[^"]*\bonce_in_(\d+)_rounds\b')  # `vmap` writes vmap(NAME)
COLLECTIVE = re.compile(r"^(all-|reduce-scatter|collective-|ragged-all|send|recv)")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
MOST_STEPS = 100  # from an operation back to a constant


class Operation(NamedTuple):
    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    literal: str  # what stands between the parentheses
    attributes: str
    is_root: bool

    def attribute(self, name: str) -> str | None:
        """Return the name of a computation, a kind, an index."""
        found = re.search(rf'\b{name}="?%?([\w.\-$]+)', self.attributes)
        return found[1] if found else None


Executed = tuple[str, Operation, float]  # the computation, the operation, how often
Price = Callable[[list[Executed]], float]


class Loop(NamedTuple):
    computation: str  # in which it stands
    operation: Operation
    trips: int | None

    @property
    def body(self) -> str:
        return self.operation.attribute("body") or ""


class Module:
    """Operations by computation and name, in the order of the text, which is that of the schedule."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, dict[str, Operation]] = {}
        self.entry = ""
        self._tables: dict[str, dict[int, str]] = {name: {} for name in TABLES}
        self._read(text)
        # Some versions write a parent's number plus one: the first frame, which has none, then names itself.
        self._shift = int("parent_frame_id=1" in self._tables["StackFrames"].get(1, ""))
        self._owner = {  # of the body and the condition of every loop
            op.attribute(part): (name, op)
            for name, ops in self.computations.items()
            for op in ops.values()
            if op.opcode == "while"
            for part in ("body", "condition")
        }

    def _read(self, text: str) -> None:
        table, ops = None, None
        for line in text.splitlines():
            if line in TABLES:
                table = self._tables[line]
            elif table is not None and (row := TABLE_ROW.match(line)):
                table[int(row[1])] = row[2]
            elif not line.startswith("HloModule") and (header := HEADER.match(line)):
                table, ops = None, self.computations.setdefault(header[2], {})
                self.entry = header[2] if header[1] else self.entry
            elif ops is not None and (found := OPERATION.match(line)):
                op = operation(found[2], found[3], bool(found[1]))
                ops[op.name] = op

    def root(self, computation: str) -> Operation:
        return next(op for op in self.computations[computation].values() if op.is_root)

    def loops(self, computation: str) -> list[Loop]:
        """Loops of a computation, in branches and calls too, but not those inside of other loops."""
        found = []
        for op in self.computations[computation].values():
            if op.opcode == "while":
                found.append(Loop(computation, op, self.trips(computation, op)))
            elif op.opcode in ("call", "conditional"):
                found += [loop for called in called_by(op) for loop in self.loops(called)]
        return found

    def loop_over_rounds(self) -> Loop:
        """Return the outermost loop of unknown length: how many rounds there are is data."""
        level = self.loops(self.entry)
        while level:
            unknown = [loop for loop in level if loop.trips is None]
            if unknown:
                return max(unknown, key=lambda loop: len(self.computations[loop.body]))
            level = [inner for loop in level for inner in self.loops(loop.body)]
        raise ValueError("the program has no loop of unknown length")

    def trips(self, computation: str, loop: Operation) -> int | None:
        """How often a loop turns, where the program says so: from its first value to its bound, by ones."""
        known = re.search(r'known_trip_count"?:\{"n":"(\d+)"', loop.attributes)
        if known:
            return int(known[1])
        condition = loop.attribute("condition") or ""
        found = self._comparison(condition)
        if found is None:
            return None
        (first, last), direction = found
        if direction in ("GT", "GE"):
            first, last, direction = last, first, {"GT": "LT", "GE": "LE"}[direction]
        start, end = self._value(condition, first, at_start=True), self._value(condition, last)
        if start is None or end is None or direction not in ("LT", "LE"):
            return None
        count = end - start + (direction == "LE")
        return count if count > 0 else None

    def _comparison(self, condition: str) -> tuple[tuple[str, str], str] | None:
        """Operands of a loop's comparison, as names in the condition, and its direction."""
        root = self._behind(condition, self.root(condition))
        if root.opcode == "compare":
            return (root.operands[0], root.operands[1]), root.attribute("direction") or ""
        called = root.attribute("calls")
        if root.opcode != "fusion" or called is None:
            return None
        inner = self._behind(called, self.root(called))
        if inner.opcode != "compare":
            return None
        names = []
        for name in inner.operands:
            op = self._behind(called, self.computations[called][name])
            if op.opcode == "constant":  # it can stand in the fusion: lend it to the condition
                self.computations[condition].setdefault(op.name, op)
            names.append(root.operands[int(op.literal)] if op.opcode == "parameter" else op.name)
        return (names[0], names[1]), inner.attribute("direction") or ""

    def _behind(self, computation: str, op: Operation) -> Operation:
        """Skip operations that hand their operand on."""
        while op.opcode in SAME:
            op = self.computations[computation][op.operands[0]]
        return op

    def _value(self, computation: str, name: str, *, at_start: bool = False, steps: int = 0) -> int | None:
        """Find the whole number behind an operation; `at_start`: what a loop changes counts as what it began with."""
        op = self.computations[computation].get(name)
        if op is None or steps > MOST_STEPS:
            return None
        op = self._behind(computation, op)
        if op.opcode == "constant":
            found = re.fullmatch(r"\{?\s*(-?\d+)\s*\}?", op.literal)
            return int(found[1]) if found else None
        if op.opcode == "get-tuple-element":
            index = int(op.attribute("index") or 0)
            return self._element(computation, op.operands[0], index, at_start=at_start, steps=steps + 1)
        return None

    def _element(self, computation: str, name: str, index: int, *, at_start: bool, steps: int) -> int | None:
        op = self._behind(computation, self.computations[computation][name])
        if op.opcode == "tuple":
            return self._value(computation, op.operands[index], steps=steps)
        if op.opcode == "while" and self._unchanged(op.attribute("body") or "", index):
            return self._element(computation, op.operands[0], index, at_start=False, steps=steps + 1)
        if op.opcode == "parameter" and computation in self._owner:
            outer, loop = self._owner[computation]
            if at_start or self._unchanged(loop.attribute("body") or "", index):
                return self._element(outer, loop.operands[0], index, at_start=False, steps=steps + 1)
        return None

    def _unchanged(self, body: str, index: int) -> bool:
        """Whether each turn of a loop hands this element of its state on."""
        root = self.root(body)
        if root.opcode != "tuple":
            return False
        op = self._behind(body, self.computations[body][root.operands[index]])
        if op.opcode != "get-tuple-element" or op.attribute("index") != str(index):
            return False
        return self._behind(body, self.computations[body][op.operands[0]]).opcode == "parameter"

    def source(self, op: Operation, package: str = "jaxbandit", frames: int = 3) -> list[str]:
        """FILE:LINE of the innermost frames in the package that made an operation, the innermost first."""
        frame = re.search(r"stack_frame_id=(\d+)", op.attributes)
        number, places = int(frame[1]) if frame else 0, []
        while row := self._tables["StackFrames"].get(number):
            place, parent = numbers(row, "file_location_id", "parent_frame_id")
            file, line = numbers(self._tables["FileLocations"][place], "file_name_id", "line")
            if found := re.search(rf"/({package}/[^\"]*)", self._tables["FileNames"][file]):
                places.append(f"{found[1]}:{line}")
            number = parent - self._shift
        if not places and (
            found := re.search(rf'source_file="[^"]*/({package}/[^"]*)" source_line=(\d+)', op.attributes)
        ):
            places.append(f"{found[1]}:{found[2]}")
        return places[:frames]

    def collectives(self, computation: str) -> list[str]:
        """Opcodes of all operations in a computation, and in what it calls, that speak to other devices."""
        return [op.opcode for op in self.within(computation) if COLLECTIVE.match(op.opcode)]

    def executed(
        self, computation: str, cost: Price | None = None, *, times: float = 1, every: int = 1
    ) -> Iterator[Executed]:
        """Yield all operations that one run of a computation carries out, where they stand, and how often.

        Loops of unknown length count once, and of branches the dearest by `cost`, else all: an upper bound. What the
        source does in a scope `once_in_N_rounds` counts 1/N.
        """
        for op in self.computations[computation].values():
            if op.opcode not in ("while", "call", "conditional"):
                yield computation, op, times
                continue
            turns = (self.trips(computation, op) or 1) if op.opcode == "while" else 1
            parts = []
            for called in (op.attribute("body") or "",) if op.opcode == "while" else called_by(op):
                seldom = self._every(called) or every
                often = times * turns if seldom == every else times * turns * every / seldom
                parts.append([*self.executed(called, cost, times=often, every=seldom)])
            yield from max(parts, key=cost) if op.opcode == "conditional" and cost else chain(*parts)

    def _every(self, computation: str) -> int | None:
        """Return N where operations of a computation come from a scope `once_in_N_rounds`."""
        found = (ONCE_IN.search(op.attributes) for op in self.computations[computation].values())
        return max((max(int(match[1]), 1) for match in found if match), default=None)

    def within(self, computation: str) -> Iterator[Operation]:
        """Yield all operations of a computation and of what it calls."""
        for op in self.computations[computation].values():
            yield op
            for called in called_by(op):
                if called in self.computations:
                    yield from self.within(called)


def operation(name: str, rest: str, is_root: bool) -> Operation:
    """Read `TYPE OPCODE(OPERANDS), ATTRIBUTES`; a type may hold parentheses, of tuples and tilings."""
    depth, start = 0, 0
    for start, sign in enumerate(rest):  # noqa: B007
        depth += (sign in "([{") - (sign in ")]}")
        if sign == " " and depth == 0:
            break
    found = OPCODE.match(rest, start)
    opcode, begin = (found[1], found.end()) if found else ("", start)
    end, depth = begin, 1
    while end < len(rest) and depth:
        depth += (rest[end] == "(") - (rest[end] == ")")
        end += 1
    inside = rest[begin : end - 1]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Operation(name, rest[:start], opcode, operands, inside, rest[end:], is_root)


def called_by(op: Operation) -> list[str]:
    """Computations that an operation runs."""
    names = [op.attribute(name) for name in ("body", "condition", "calls", "to_apply", "true_computation")]
    branches = re.search(r"branch_computations=\{([^}]*)\}", op.attributes)
    names += [op.attribute("false_computation"), *(re.findall(r"%?([\w.\-]+)", branches[1]) if branches else [])]
    return [name for name in names if name]


def shapes(type_: str) -> list[tuple[str, tuple[int, ...]]]:
    """Element type and sizes of an array, or of each array of a tuple."""
    found = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", type_)
    return [(kind, tuple(int(n) for n in sizes.split(",") if n)) for kind, sizes in found]


def nbytes(type_: str) -> int:
    total = 0
    for kind, sizes in shapes(type_):
        count = BYTES.get(kind, 4)
        for n in sizes:
            count *= n
        total += count
    return total


def numbers(row: str, *names: str) -> list[int]:
    """Values of `NAME=NUMBER` in a row of a table."""
    return [int(re.search(rf"\b{name}=(\d+)", row)[1]) for name in names]
