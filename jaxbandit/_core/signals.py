"""SIGINT and SIGTERM as requests that the program honours at a point of its choice. It saves nothing itself."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], object]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = 0.02  # seconds


class Interrupted(BaseException):
    """The program was asked to stop. Its message says how to go on, where there is something to go on from."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise Interrupted within the block, wherever it is.

    Code that is called by a library, or while objects are deleted, may let nothing through: there the exception becomes
    another one, which is Interrupted again at the end of the block, or Python would show and forget it: then the signal
    is sent again a moment later.
    """
    came = threading.Event()
    timers: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.set()
        raise Interrupted("interrupted")

    def send_again(lost: "sys.UnraisableHookArgs") -> None:
        if not isinstance(lost.exc_value, Interrupted):
            old(lost)
            return
        timers.append(threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].daemon = True
        timers[-1].start()

    old, sys.unraisablehook = sys.unraisablehook, send_again
    try:
        with _handled(dict.fromkeys(SIGNALS, interrupt)):
            try:
                yield
            finally:
                for timer in timers:
                    timer.cancel()
    except Exception:
        if came.is_set():
            raise Interrupted("interrupted") from None
        raise
    finally:
        sys.unraisablehook = old


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one does what it did before the block."""
    stop = threading.Event()
    old = {number: signal.getsignal(number) for number in SIGNALS}

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        for again, handler in old.items():
            signal.signal(again, handler)

    with _handled(dict.fromkeys(SIGNALS, request)):
        yield stop


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Install handlers for the block; only the main thread may, so elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
