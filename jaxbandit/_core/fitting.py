"""Whether what JSON holds fits a type: TypedDicts and dataclasses entry by entry. It converts nothing."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST = 2**63  # numbers beyond it are in no file of ours


def misfit(content: object, hint: Any, name: str = "") -> str:
    """Name the first entry that does not fit the type `hint`: `final.regret.mean is 'x'`. Empty where all do."""
    bare = typing.get_origin(hint) or hint
    if hint is Any or hint is object:
        return ""
    if bare in (typing.Union, types.UnionType):
        found = [misfit(content, one, name) for one in typing.get_args(hint)]
        return min(found, key=len) if all(found) else ""
    if bare is typing.Literal:
        return "" if content in typing.get_args(hint) else _told(name, content)
    if typing.is_typeddict(bare) or dataclasses.is_dataclass(bare):
        return _of_record(content, bare, name)
    if isinstance(bare, type) and issubclass(bare, Mapping):
        _, of_value = typing.get_args(hint) or (str, Any)
        pairs = content.items() if isinstance(content, dict) else ()
        return _first(((k, v, of_value) for k, v in pairs), name) if isinstance(content, dict) else _told(name, content)
    if isinstance(bare, type) and issubclass(bare, Sequence) and bare is not str:
        return _of_list(content, typing.get_args(hint), name)
    return "" if _is_plain(content, bare) else _told(name, content)


def _of_record(content: object, record: Any, name: str) -> str:
    if not isinstance(content, dict):
        return _told(name, content)
    hints = typing.get_type_hints(record)
    needed = record.__required_keys__ if typing.is_typeddict(record) else _without_default(record)
    if missing := sorted(needed - set(content)):
        return f"{_join(name, missing[0])} is missing"
    return _first(((key, content[key], hints[key]) for key in hints if key in content), name)


def _without_default(record: Any) -> set[str]:
    missing = dataclasses.MISSING
    every = dataclasses.fields(record)
    return {field.name for field in every if field.default is missing and field.default_factory is missing}


def _of_list(content: object, hints: tuple[Any, ...], name: str) -> str:
    if not isinstance(content, list | tuple):
        return _told(name, content)
    fixed = len(hints) > 1 and hints[-1] is not Ellipsis
    if fixed and len(content) != len(hints):
        return _told(name, content)
    each = hints if fixed else (hints[0] if hints else Any,) * len(content)
    return _first(((str(i), value, hint) for i, (value, hint) in enumerate(zip(content, each, strict=True))), name)


def _first(entries: Iterable[tuple[str, object, Any]], name: str) -> str:
    return next((found for key, value, hint in entries if (found := misfit(value, hint, _join(name, key)))), "")


def _is_plain(content: object, kind: Any) -> bool:
    if kind in (None, type(None)):
        return content is None
    if isinstance(content, bool) or kind is bool:
        return isinstance(content, bool) and kind is bool
    if isinstance(content, int | float) and not (math.isfinite(content) and abs(content) < MOST):
        return kind is float and isinstance(content, float) and math.isfinite(content)
    return isinstance(content, int | float if kind is float else kind)


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _told(name: str, content: object) -> str:
    shown = repr(content)
    return f"{name or 'it'} is {shown if len(shown) <= 60 else shown[:60] + '…'}"
