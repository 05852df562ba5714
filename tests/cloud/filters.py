"""The filter language of list calls, as far as a launcher needs it: comparisons joined by AND."""

import datetime
import fnmatch
import operator
import re
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from .calls import invalid

_PART = r'(?:[A-Za-z_][\w-]*|"[^"]*")'
_TERM = re.compile(rf'\s*(?P<path>{_PART}(?:\.{_PART})*)\s*(?P<sign>[<>!]=|[=<>:])\s*(?P<value>"[^"]*"|[^\s"()]+)\s*')
_SIGNS = {"=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


class Term(NamedTuple):
    """One comparison."""

    path: tuple[str, ...]
    sign: str
    value: str


def parse(text: str) -> list[Term]:
    """Read a filter; an empty one has no terms.

    Raises:
        Refusal: If it is no such filter.
    """
    terms, position = [], 0
    while text[position:].strip():
        if terms:
            joint = re.compile(r"AND\s").match(text, position)
            if not joint:
                raise invalid(f"Invalid filter '{text}': expected AND at '{text[position:]}'")
            position = joint.end()
        term = _TERM.match(text, position)
        if not term:
            raise invalid(f"Invalid filter '{text}' at '{text[position:]}'")
        path = tuple(part.strip('"') for part in re.findall(_PART, term["path"]))
        terms.append(Term(path, term["sign"], term["value"].strip('"')))
        position = term.end()
    return terms


def matches(terms: list[Term], field: Callable[[tuple[str, ...]], Any]) -> bool:
    """Whether a record whose fields are told by `field` (None: it has no such field) meets all terms."""
    return all(_holds(term, field(term.path)) for term in terms)


def _holds(term: Term, actual: Any) -> bool:
    if actual is None:
        return term.sign == "!="
    if term.sign == ":":
        return fnmatch.fnmatchcase(str(actual), term.value)
    try:
        return _SIGNS[term.sign](actual, _like(actual, term.value))
    except (KeyError, ValueError) as error:
        raise invalid(f"Invalid value '{term.value}' of {'.'.join(term.path)} in a filter") from error


def _like(actual: Any, text: str) -> Any:
    if isinstance(actual, datetime.datetime):
        return datetime.datetime.fromisoformat(text)
    return type(actual)[text] if isinstance(actual, IntEnum) else text
