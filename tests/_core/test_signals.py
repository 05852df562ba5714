"""Signals that come while a library or the collection of garbage calls us: neither lost nor shown."""

import os
import signal
import time

import pytest

from jaxbandit._core.signals import Interrupted, interruptible, stop_requests


class Careless:
    """Is deleted while a signal comes: Python shows what is raised there, and goes on."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def wait() -> None:
    for _ in range(300):
        time.sleep(0.01)


def test_a_signal_that_is_lost_in_a_callback_is_sent_again(capsys) -> None:
    with pytest.raises(Interrupted), interruptible():  # noqa: PT012
        Careless()
        wait()
    assert not capsys.readouterr().err


def test_a_second_signal_in_a_callback_ends_the_wait_for_the_first(capsys) -> None:
    with pytest.raises(Interrupted), interruptible(), stop_requests() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(1)
        Careless()
        wait()
    assert not capsys.readouterr().err


def test_what_a_library_makes_of_a_signal_is_an_interruption_again() -> None:
    with pytest.raises(Interrupted), interruptible():  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            wait()
        except BaseException as error:
            raise RuntimeError("INTERNAL: a callback has failed") from error
    with pytest.raises(RuntimeError), interruptible():
        raise RuntimeError("without a signal")


def test_after_the_block_everything_is_as_it_was() -> None:
    import sys

    hook, handler = sys.unraisablehook, signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert sys.unraisablehook is not hook
    assert (sys.unraisablehook, signal.getsignal(signal.SIGTERM)) == (hook, handler)
