"""The one error that a person can mend: bad input. It decides nothing about how errors are shown."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. Its message is one line: the field, the value, what is allowed. The command line exits with 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not registered, with the nearest names suggested."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {kind} {name!r}: {hint}allowed: {', '.join(known) or 'none'}")
