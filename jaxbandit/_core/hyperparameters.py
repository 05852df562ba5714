"""What a factory's signature says of its settings: kinds, defaults, bounds, words. It names no agents or worlds.

A factory declares each setting as a keyword `name: Annotated[Traced, Gt(0), doc("...")] = 1.0`. `Traced` is a float
that may be a tracer, so that a sweep of its values compiles once; int, bool, str choices, text and tuples are static,
and so is a float whose default is None: only the factory knows what that stands for.

Settings that several factories share stand once in a record, a frozen dataclass whose fields are annotated like
keywords. A factory takes it as a keyword, `training: TrainingSettings = TrainingSettings()`, under the decorator
`flat_settings`; its callers and its signature know the fields alone, `learning_rate=0.01`.
"""

import dataclasses
import functools
import inspect
import math
import operator
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import Parameter
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeGuard,
    TypeVar,
    runtime_checkable,
)

import annotated_types as at

from jaxbandit._core.errors import InputError, refused_name

MOST = 2**31 - 1  # of whole numbers: devices count in int32
LEAST_SIZE, MOST_SIZE = 1.2e-38, 3.4e38  # of other numbers but 0: devices have float32
SIZES = f"0, or {LEAST_SIZE} to {MOST_SIZE}"


class Form(NamedTuple):
    """A bound of a text: a regular expression, and in words what it matches."""

    pattern: str
    words: str


Kind: TypeAlias = Literal["float", "int", "bool", "choice", "text", "ints", "floats"]
Value: TypeAlias = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | None
Bound: TypeAlias = at.BaseMetadata | at.Interval | Form
Made = TypeVar("Made")


@runtime_checkable
class Record(Protocol):
    """A frozen dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class Hyperparameter(NamedTuple):
    """One setting of a factory."""

    name: str
    kind: Kind
    default: Value
    choices: tuple[str, ...] = ()
    bounds: tuple[Bound, ...] = ()
    doc: str = ""

    @property
    def is_traced(self) -> bool:
        """Whether a sweep takes many values in one compiled program."""
        return self.kind == "float" and self.default is not None

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.kind == "choice":
            return " | ".join(self.choices)
        noun = {
            "float": "a number",
            "int": "a whole number",
            "bool": "true | false",
            "text": "text",
            "ints": "whole numbers > 0, as 64,32 or 64x32",
            "floats": "numbers, as 0.5,1 or 0.5x1",
        }
        limits = " and ".join(_words(bound) for bound in self.bounds)
        return f"{noun[self.kind]}{', each' if self.kind in ('ints', 'floats') and limits else ''} {limits}".strip()


def hyperparameters(factory: Callable[..., object]) -> Mapping[str, Hyperparameter]:
    """List the keyword-only parameters of a factory in the order of its signature; each factory is read once."""
    return _read_signature(factory)


@functools.cache
def _read_signature(factory: Callable[..., object]) -> Mapping[str, Hyperparameter]:
    parameters = inspect.signature(factory, eval_str=True).parameters.values()
    return MappingProxyType({p.name: _read(p) for p in parameters if p.kind is Parameter.KEYWORD_ONLY})


def flat_settings(factory: Callable[..., Made]) -> Callable[..., Made]:
    """Let a factory be called with the fields of its records as keywords; its signature shows them in their place."""
    signature = inspect.signature(factory, eval_str=True)
    records = {p.name: p.default for p in signature.parameters.values() if _is_record(p.default)}

    @functools.wraps(factory)
    def build(*args: object, **settings: object) -> Made:
        filled = {name: _filled(record, settings) for name, record in records.items()}
        return factory(*args, **filled, **settings)

    flat = [field for p in signature.parameters.values() for field in _fields(p)]
    build.__signature__ = signature.replace(parameters=flat)  # type: ignore[attr-defined]
    return build


def _fields(parameter: Parameter) -> Iterator[Parameter]:
    """Yield a parameter, or in place of a record its fields, and those of records in it."""
    if not _is_record(parameter.default):
        yield parameter
        return
    hints = typing.get_type_hints(type(parameter.default), include_extras=True)
    for field in dataclasses.fields(parameter.default):
        value = getattr(parameter.default, field.name)
        yield from _fields(Parameter(field.name, parameter.kind, default=value, annotation=hints[field.name]))


def _is_record(value: object) -> TypeGuard[Record]:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _filled(record: Record, settings: dict[str, object]) -> Record:
    """Move the settings that are fields of a record, or of records in it, into a copy of the record."""
    changes: dict[str, object] = {}
    for name, value in ((field.name, getattr(record, field.name)) for field in dataclasses.fields(record)):
        if _is_record(value):
            changes[name] = _filled(value, settings)
        elif name in settings:
            changes[name] = settings.pop(name)
    return dataclasses.replace(record, **changes)


def validate(kind: str, name: str, factory: Callable[..., object], settings: Mapping[str, object]) -> dict[str, Any]:
    """Check settings against a factory's signature and return them typed.

    Raises:
        InputError: a setting that the factory does not have, a value of the wrong kind, or one out of bounds.
    """
    known = hyperparameters(factory)
    for key in settings:
        if key not in known:
            raise refused_name(f"{kind} {name} has no setting", key, known)
    return {key: parse(known[key], value) for key, value in settings.items()}


def parse(setting: Hyperparameter, value: object) -> Any:
    """Turn a value, text included, into the setting's kind, within its bounds; InputError otherwise."""
    if value is None and setting.default is None:
        return None
    try:
        typed: Any = _CONVERT[setting.kind](value)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise _refusal(setting, value) from None
    values = typed if setting.kind in ("ints", "floats") else (typed,)
    within = all(_holds(bound, number) for bound in setting.bounds for number in values)
    if not (typed in setting.choices if setting.kind == "choice" else within):
        raise _refusal(setting, value)
    if setting.kind in ("float", "floats") and not all(_is_float32(number) for number in values if number is not None):
        raise InputError(f"{setting.name} is {value!r}; allowed: {setting.allowed}, in float32: {SIZES}")
    if setting.kind in ("int", "ints") and any(number > MOST for number in values):
        raise _refusal(setting._replace(bounds=(*setting.bounds, at.Le(MOST))), value)
    return typed


def _is_float32(number: float) -> bool:
    """Whether devices see the number as one that is neither infinite nor, unless it is, zero."""
    return number == 0 or LEAST_SIZE <= abs(number) <= MOST_SIZE


def _refusal(setting: Hyperparameter, value: object) -> InputError:
    return InputError(f"{setting.name} is {value!r}; allowed: {setting.allowed}")


def _read(parameter: Parameter) -> Hyperparameter:
    hint = parameter.annotation
    base, metadata = (hint.__origin__, hint.__metadata__) if typing.get_origin(hint) is Annotated else (hint, ())
    words = next((m.documentation for m in metadata if isinstance(m, at.DocInfo)), "")
    bounds = tuple(m for m in metadata if isinstance(m, at.BaseMetadata | at.Interval | Form))
    members = [arg for arg in typing.get_args(base) if arg is not type(None)]
    if type(None) in typing.get_args(base) and len(members) == 1:
        base = members[0]
    if typing.get_origin(base) is Literal:
        choices = typing.get_args(base)
        return Hyperparameter(parameter.name, "choice", parameter.default, choices, bounds, words)
    return Hyperparameter(parameter.name, _KINDS.get(base, "float"), parameter.default, bounds=bounds, doc=words)


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # TypeError where it is none
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _truth(value: object) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[str(value).lower()]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _parts(value: object) -> list[object]:
    if isinstance(value, str):
        return [part for part in value.split("," if "," in value else "x") if part]
    if not isinstance(value, Iterable):
        raise ValueError
    return [part for part in value if part != ""]


def _wholes(value: object) -> tuple[int, ...]:
    sizes = tuple(_whole(part) for part in _parts(value))
    if any(size < 1 for size in sizes):
        raise ValueError
    return sizes


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(_number(part) for part in _parts(value))


_KINDS: dict[object, Kind] = {
    bool: "bool",
    int: "int",
    str: "text",
    tuple[int, ...]: "ints",
    tuple[float, ...]: "floats",
}
_CONVERT: dict[Kind, Callable[[object], Value]] = {
    "float": _number,
    "int": _whole,
    "bool": _truth,
    "choice": str,
    "text": _text,
    "ints": _wholes,
    "floats": _numbers,
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _limits(bound: at.BaseMetadata | at.Interval) -> list[tuple[str, int | float]]:
    return [(name, getattr(bound, name)) for name in _SIGNS if getattr(bound, name, None) is not None]


def _words(bound: Bound) -> str:
    if isinstance(bound, Form):
        return bound.words
    return " and ".join(f"{_SIGNS[name]} {limit:.15g}" for name, limit in _limits(bound))


def _holds(bound: Bound, value: object) -> bool:
    if isinstance(bound, Form):
        return isinstance(value, str) and re.fullmatch(bound.pattern, value) is not None
    return all(getattr(operator, name)(value, limit) for name, limit in _limits(bound))
