"""How long random inputs are tried: a few, always the same, or new ones for JAXBANDIT_FUZZ_SECONDS in each test.

The rule for all of them: no input gives a traceback, a hang, or a wrong number without a word.
"""

import functools
import os
import time
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("JAXBANDIT_FUZZ_SECONDS", "0"))
ROUND = 200  # examples between two looks at the clock


def fuzzed(examples: int, **strategies: SearchStrategy[object]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Let a test run with values drawn from `strategies`; it takes no fixtures."""

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        def attempt(number: int, seed: int | None) -> None:
            settings = hypothesis.settings(
                max_examples=number, deadline=None, database=None, derandomize=seed is None, print_blob=True,
                suppress_health_check=list(hypothesis.HealthCheck),
            )  # fmt: skip
            once = settings(hypothesis.given(**strategies)(test))
            (once if seed is None else hypothesis.seed(seed)(once))()

        def run() -> None:
            late = time.monotonic() + SECONDS
            attempt(examples, None)
            while time.monotonic() < late:
                attempt(ROUND, time.time_ns())

        named = functools.wraps(test)(run)
        del named.__wrapped__  # whose arguments pytest would take for fixtures
        return pytest.mark.timeout(300 + 2 * SECONDS)(named)

    return decorate
