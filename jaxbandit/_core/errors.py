"""Errors that are shown as one line: bad input, which a person can mend, and failures of work that runs elsewhere."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. Its message is one line: the field, the value, what is allowed. The command line exits with 2."""


class Failure(Exception):
    """What went wrong elsewhere, such as a job that failed in the cloud. The command line exits with 1."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like a mistyped one, or None where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def refused_name(words: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error `WORDS 'NAME': did you mean 'NEAR'? allowed: ...`."""
    known = sorted(known)
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return InputError(f"{words} {name!r}: {hint}allowed: {', '.join(known) or 'none'}")


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not registered, with the nearest names suggested."""
    return refused_name(f"unknown {kind}", name, known)
