"""What the command line prints, wherever it goes: terminals without Unicode, full disks, readers that leave."""

import codecs
import os
import sys
from contextlib import suppress

PLAIN = str.maketrans({"±": "+-", "–": "-", "…": "...", "━": "-", "╸": "-", "╺": "-", "─": "-", "×": "x", "≤": "<="})
NAME = "jaxbandit-plain"


def print_anywhere() -> None:
    """Let stdout and stderr write characters that they lack as others, and bytes of paths as they are."""
    codecs.register_error(NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=NAME)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    with suppress(UnicodeEncodeError):
        return text.encode("utf-8" if error.encoding == "utf-8" else "ascii", "surrogateescape"), error.end
    return "".join(c if c.isascii() else "?" for c in text.translate(PLAIN)), error.end


def flush() -> OSError | None:
    """Bring what was printed to where it goes; return what has kept it from there. What is left is dropped then."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError, AttributeError):  # or Python would try again at its end, and say so
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
