from __future__ import annotations

import os
import sys
import threading

import pytest

from runner.worker import priority
from runner.worker.priority import behind_others

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="priorities of threads are Linux's")


def place():
    """Where the calling thread stands in the line for the CPU."""
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)


def test_a_thread_made_meanwhile_is_behind_others_and_put_back_with_the_rest():
    before, seen = place(), []
    started, go = threading.Event(), threading.Event()

    def work():
        seen.append(place())
        started.set()
        go.wait()
        seen.append(place())

    with behind_others():
        assert place() != before
        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
    go.set()
    thread.join()
    assert seen[0] != before and seen[1] == place() == before


def test_who_may_not_take_a_nice_value_back_does_not_give_it_away(monkeypatch):
    monkeypatch.setattr(priority, "_may_return", lambda before: False)
    before = place()
    with behind_others():
        assert place() == (os.SCHED_BATCH, before[1])
    assert place() == before
