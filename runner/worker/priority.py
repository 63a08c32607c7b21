"""A worker that compiles while others serve: behind them in the line for the CPU.

A higher nice value is the stronger means, but who may not lower it again (the usual case in a container) would
serve with it for good. Then Linux's batch policy has to do: such a thread never interrupts another one.
Both belong to a thread and are inherited, so all threads of the process are put back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NICER = 10


@contextmanager
def behind_others() -> Iterator[None]:
    """Low priority in the block. Without effect where the system has no such thing."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    nice = _may_return(before)
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, before + _NICER)
    else:
        _batch(0)
    try:
        yield
    finally:
        _each_thread((lambda thread: os.setpriority(os.PRIO_PROCESS, thread, before)) if nice else _normal)


def _may_return(before: int) -> bool:
    """Whether a nice value can be lowered again: tried out on a thread of its own."""
    allowed = False

    def attempt() -> None:
        nonlocal allowed
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before + 1)
            os.setpriority(os.PRIO_PROCESS, 0, before)
            allowed = True

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return allowed


def _batch(thread: int) -> None:
    with suppress(PermissionError):  # a sandbox may forbid even that; it is a courtesy, not a condition
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


def _normal(thread: int) -> None:
    with suppress(PermissionError):
        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _each_thread(change: Callable[[int], None]) -> None:
    for entry in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            change(int(entry.name))
