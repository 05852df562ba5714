"""The language of `--grid`, `--sample` and `--tune`: a range of numbers, or a few values. It draws nothing.

    log:0.01:100   linear:0:1   reverse-log:0.1:1   int:1:8   int:log:1:512   a,b,c

A grid has the number of values at the end (`log:0.01:100:5`); `int:1:8` is every whole number there. The words with
which Vertex AI names kinds (`double:log:0.01:100`, `discrete:1,2,3`, `categorical:a,b`) may stand in front.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from annotated_types import Ge, Le

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Hyperparameter, parse
from jaxbandit.experiments.config import plain

Value: TypeAlias = bool | int | float | str | None
Kind: TypeAlias = Literal["int", "float"]
Scale: TypeAlias = Literal["linear", "log", "reverse-log"]

KINDS: dict[str, Kind] = {"int": "int", "double": "float"}
SCALES: dict[str, Scale] = {"linear": "linear", "log": "log", "reverse-log": "reverse-log"}
ALLOWED = {"int": "int:LOW:HIGH | int:log:LOW:HIGH", "float": "log:LOW:HIGH | linear:LOW:HIGH | reverse-log:LOW:HIGH"}
DIGITS = 6  # of floats in a range, so that what is written down is what was run
MOST_SPACED = 100_000  # values of one range in a grid


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    On a linear scale equal differences have equal shares of the range, on a log scale equal ratios; the reverse-log
    scale is the log scale turned round, so that it is fine near `high`.
    """

    kind: Kind
    scale: Scale
    low: int | float
    high: int | float

    def at(self, share: float) -> int | float:
        """Value at a share of the range in [0, 1)."""
        low, high = self.low, self.high
        if self.kind == "int" and self.scale == "linear":  # each number has an equal share
            return int(low + math.floor(share * (high - low + 1)))
        if self.scale == "linear":
            value = low + share * (high - low)
        elif self.scale == "log":
            value = low * (high / low) ** share
        else:
            value = low + high - low * (high / low) ** (1 - share)
        return self._written(value)

    def spaced(self, count: int) -> Sequence[int | float]:
        """So many values from `low` to `high`, evenly spaced on the scale; after rounding some may be equal."""
        values = (np.linspace if self.scale == "linear" else np.geomspace)(self.low, self.high, count)
        if self.scale == "reverse-log":
            values = self.low + self.high - values[::-1]
        return [self._written(value) for value in values]

    @property
    def members(self) -> range:
        """Every whole number of the range."""
        return range(int(self.low), int(self.high) + 1)

    def _written(self, value: float) -> int | float:
        if self.kind == "int":
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)  # rounding may lead out of a narrow range


@dataclass(frozen=True)
class Values:
    """A few values."""

    members: tuple[Value, ...]

    def at(self, share: float) -> Value:
        """Value at a share of them in [0, 1)."""
        return self.members[int(share * len(self.members))]


def read_range(setting: Hyperparameter, text: str) -> Range | Values:
    """Read what a sample or a study takes a setting from: `log:0.01:100` and the like, or a,b,c.

    Raises:
        InputError: it is none of these, or a value that is not allowed for the setting.
    """
    spelling = _spelling(text)
    return Values(_listed(setting, text)) if spelling is None else _range(setting, text, spelling, "LOW:HIGH")


def read_values(setting: Hyperparameter, text: str) -> Sequence[Value]:
    """Read the values of a setting in a grid: a,b,c, `int:LOW:HIGH`, or `log:LOW:HIGH:COUNT` and the like.

    Raises:
        InputError: it is none of these, or a value that is not allowed for the setting.
    """
    spelling = _spelling(text)
    if spelling is None:
        return _listed(setting, text)
    if spelling.kind == "int" and not spelling.scale and len(spelling.numbers) < 3:
        return _range(setting, text, spelling, "LOW:HIGH").members
    space = _range(setting, text, spelling, "LOW:HIGH:COUNT")
    count = setting._replace(name=f"COUNT of {setting.name}", kind="int", bounds=(Ge(2), Le(MOST_SPACED)))
    return space.spaced(parse(count, spelling.numbers[2]))


class _Spelling(NamedTuple):
    """The parts of a range's text."""

    kind: str  # empty where the text does not say it, as is the scale
    scale: str
    numbers: list[str]

    def expected(self, numbers: str) -> str:
        """Put other numbers after the words."""
        return ":".join(filter(None, (self.kind, self.scale, numbers)))


def _spelling(text: str) -> _Spelling | None:
    """Split the text of a range; None for a list of values."""
    if ":" not in text:
        return None
    parts = text.split(":")
    kind = parts.pop(0) if parts[0] in KINDS else ""
    scale = parts.pop(0) if parts and parts[0] in SCALES else ""
    return _Spelling(kind, scale, parts) if kind or scale else None


def _range(setting: Hyperparameter, text: str, spelling: _Spelling, shape: str) -> Range:
    refusal = f"{setting.name} is {text!r}; allowed: "
    if len(spelling.numbers) != len(shape.split(":")):
        raise InputError(refusal + spelling.expected(shape))
    kind, scale = KINDS.get(spelling.kind, "float"), SCALES.get(spelling.scale, "linear")
    if setting.kind != kind:
        raise InputError(refusal + ALLOWED.get(setting.kind, "a,b,c"))
    low, high = (parse(setting, number) for number in spelling.numbers[:2])
    if low >= high or (scale != "linear" and low <= 0):
        raise InputError(f"{refusal}LOW < HIGH{', both > 0' if scale != 'linear' else ''}")
    return Range(kind, scale, low, high)


def _listed(setting: Hyperparameter, text: str) -> tuple[Value, ...]:
    """Read a,b,c, and of equal values the first alone; a tuple of whole numbers is written 64x32."""
    texts = [part.strip() for part in text.removeprefix("discrete:").removeprefix("categorical:").split(",")]
    values = (parse(setting, None if part == "auto" and setting.default is None else part) for part in texts)
    return tuple(dict.fromkeys(map(plain, values)))
