"""When a request is due."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from runner.bench.pace import Closed, Open

TIMES = st.lists(st.floats(0, 100), max_size=30).map(sorted)


@given(TIMES, st.lists(st.floats(0, 120), max_size=60).map(sorted))
def test_an_open_loop_gives_every_request_its_own_moment_once_and_never_early(times, moments):
    pace, taken = Open(times), []
    for now in moments:
        while (intended := pace.take(now)) is not None:
            assert intended <= now
            taken.append(intended)
    assert [*taken, *pace.left()] == times
    assert all(each > (moments[-1] if moments else -1) for each in pace.left())


def test_an_open_loop_says_when_the_next_is_due():
    pace = Open([1.0, 2.0])
    assert pace.next() == 1.0 and pace.take(0.5) is None
    assert pace.take(5.0) == 1.0 and pace.next() == 2.0
    assert pace.take(5.0) == 2.0 and pace.next() == math.inf and pace.is_over(0.0)


def test_a_closed_loop_is_due_at_any_time_until_its_end():
    pace = Closed(begin=1.0, end=2.0)
    assert pace.take(0.5) == 0.5 and pace.take(1.999) == 1.999
    assert pace.take(2.0) is None and pace.is_over(2.0)
    assert list(pace.left()) == []


def test_a_closed_loop_with_a_count_counts_from_its_begin():
    pace = Closed(begin=1.0, end=1.0, count=2)
    assert [pace.take(now) for now in (0.0, 0.5, 1.0, 50.0)] == [0.0, 0.5, 1.0, 50.0]
    assert pace.take(50.0) is None and pace.is_over(50.0)
