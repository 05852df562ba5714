"""What a factory's signature says of its settings: kinds, defaults, bounds, words. It names no agents or worlds.

A factory declares each setting as a keyword `name: Annotated[Traced, Gt(0), doc("...")] = 1.0`. `Traced` is a float
that may be a tracer, so that a sweep of its values compiles once; int, bool, str choices, text and tuples are static,
and so is a float whose default is None: only the factory knows what that stands for.
"""

import inspect
import math
import operator
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types as at

from jaxbandit._core.errors import InputError, refused_name

MOST = 2**31 - 1  # of whole numbers: devices count in int32


class Form(NamedTuple):
    """A bound of a text: a regular expression, and in words what it matches."""

    pattern: str
    words: str


class Hyperparameter(NamedTuple):
    """One setting of a factory."""

    name: str
    kind: Literal["float", "int", "bool", "choice", "text", "ints", "floats"]
    default: Any
    choices: tuple[str, ...]
    bounds: tuple[Any, ...]  # annotated_types constraints, or a Form
    doc: str

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


def hyperparameters(factory: Callable[..., Any]) -> dict[str, Hyperparameter]:
    """List the keyword-only parameters of a factory in the order of its signature."""
    hints = typing.get_type_hints(inspect.unwrap(factory), include_extras=True)
    parameters = inspect.signature(factory).parameters.values()
    keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return {p.name: _read(p.name, hints[p.name], p.default) for p in keywords}


def validate(kind: str, name: str, factory: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings against a factory's signature and return them typed.

    Raises:
        InputError: a setting that the factory does not have, a value of the wrong kind, or one out of bounds.
    """
    known = hyperparameters(factory)
    for key in settings:
        if key not in known:
            raise refused_name(f"{kind} {name} has no setting", key, known)
    return {key: parse(known[key], value) for key, value in settings.items()}


def parse(setting: Hyperparameter, value: Any) -> Any:
    """Turn a value, text included, into the setting's kind, within its bounds; InputError otherwise."""
    if value is None and setting.default is None:
        return None
    try:
        typed = _CONVERT[setting.kind](value)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise _refusal(setting, value) from None
    values = typed if setting.kind in ("ints", "floats") else (typed,)
    within = all(_holds(bound, number) for bound in setting.bounds for number in values)
    if not (typed in setting.choices if setting.kind == "choice" else within):
        raise _refusal(setting, value)
    if setting.kind in ("int", "ints") and any(number > MOST for number in values):
        raise _refusal(setting._replace(bounds=(*setting.bounds, at.Le(MOST))), value)
    return typed


def _refusal(setting: Hyperparameter, value: Any) -> InputError:
    return InputError(f"{setting.name} is {value!r}; allowed: {setting.allowed}")


def _read(name: str, hint: Any, default: Any) -> Hyperparameter:
    base, metadata = (hint.__origin__, hint.__metadata__) if typing.get_origin(hint) is Annotated else (hint, ())
    words = next((m.documentation for m in metadata if isinstance(m, at.DocInfo)), "")
    bounds = tuple(m for m in metadata if isinstance(m, at.BaseMetadata | at.Interval | Form))
    members = (
        [arg for arg in typing.get_args(base) if arg is not type(None)] if type(None) in typing.get_args(base) else None
    )
    if members is not None and len(members) == 1:
        base = members[0]
    if typing.get_origin(base) is Literal:
        return Hyperparameter(name, "choice", default, typing.get_args(base), bounds, words)
    kinds: dict[Any, Any] = {
        bool: "bool",
        int: "int",
        str: "text",
        tuple[int, ...]: "ints",
        tuple[float, ...]: "floats",
    }
    return Hyperparameter(name, kinds.get(base, "float"), default, (), bounds, words)


def _whole(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _truth(value: Any) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[str(value).lower()]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _parts(value: Any) -> list[Any]:
    parts = value.split("," if "," in value else "x") if isinstance(value, str) else value
    return [part for part in parts if part != ""]


def _wholes(value: Any) -> tuple[int, ...]:
    sizes = tuple(_whole(part) for part in _parts(value))
    if any(size < 1 for size in sizes):
        raise ValueError
    return sizes


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(_number(part) for part in _parts(value))


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "float": _number,
    "int": _whole,
    "bool": _truth,
    "choice": str,
    "text": _text,
    "ints": _wholes,
    "floats": _numbers,
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _limits(bound: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(bound, name)) for name in _SIGNS if getattr(bound, name, None) is not None]


def _words(bound: Any) -> str:
    if isinstance(bound, Form):
        return bound.words
    return " and ".join(f"{_SIGNS[name]} {limit:.15g}" for name, limit in _limits(bound))


def _holds(bound: Any, value: Any) -> bool:
    if isinstance(bound, Form):
        return re.fullmatch(bound.pattern, value) is not None
    return all(getattr(operator, name)(value, limit) for name, limit in _limits(bound))
