from __future__ import annotations

import signal
import threading

import pytest

from runner.optimize.deadline import TimeIsUp, can_interrupt, deadline


def test_work_that_takes_too_long_is_interrupted_even_under_except_exception():
    def stubborn():
        try:
            signal.pause()
        except Exception:
            pytest.fail("user code must not be able to swallow it")

    with pytest.raises(TimeIsUp), deadline(0.01):
        stubborn()


def test_work_in_time_passes_and_the_alarm_is_gone():
    before = signal.getsignal(signal.SIGALRM)
    with deadline(60):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_error_of_the_work_stays_that_error():
    with pytest.raises(ZeroDivisionError), deadline(60):
        raise ZeroDivisionError


def test_off_the_main_thread_there_is_no_limit_and_one_can_know():
    told = []

    def work():
        with deadline(0.0001):
            told.append(can_interrupt())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]
