"""A limit on the time that a piece of this thread's work may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: A signal that some cleanup swallowed rings again after this many seconds.
_AGAIN = 5.0


class TimeIsUp(Exception):
    """The work took longer than it may; it was interrupted."""


class _Rung(BaseException):
    """Not an Exception, so that user code's `except Exception` lets it pass."""


def can_interrupt() -> bool:
    """Signals reach the main thread only; elsewhere a limit can be told but not kept."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raises TimeIsUp in the body's place once `seconds` have passed. No limit for None and off the main thread.

    A compiler that runs as a child process is waited for by Python code, which the signal interrupts; native
    code is interrupted when it returns to Python.
    """
    if seconds is None or not can_interrupt():
        yield
        return
    rung = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        raise _Rung

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as error:
        if rung:
            raise TimeIsUp from error
        raise
    finally:
        signal.signal(signal.SIGALRM, previous)
    if rung:
        raise TimeIsUp
