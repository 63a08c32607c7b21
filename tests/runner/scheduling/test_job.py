from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scheduling.job import TRANSITIONS, Event, Job, LifeError, State
from tests.runner.scheduling.clients import Recorder


def test_a_job_is_answered_or_withdrawn_and_nothing_follows() -> None:
    assert TRANSITIONS[State.ANSWERED] == {}
    assert TRANSITIONS[State.WITHDRAWN] == {}


def test_an_event_that_cannot_be_is_named_with_the_state() -> None:
    job = Job("row", 0.0, Recorder())
    job.advance(Event.GONE)
    with pytest.raises(LifeError, match="cannot EXPIRE a job that is WITHDRAWN"):
        job.advance(Event.EXPIRE)


def test_a_job_can_be_sent_put_back_and_sent_again() -> None:
    job = Job("row", 0.0, Recorder())
    for event in (Event.TAKE, Event.REQUEUE, Event.TAKE, Event.ANSWER):
        job.advance(event)
    assert job.state is State.ANSWERED


def test_a_job_whose_stream_has_begun_is_neither_tried_again_nor_late() -> None:
    job = Job("row", 0.0, Recorder())
    for event in (Event.TAKE, Event.PIECE, Event.PIECE):
        job.advance(event)
    for event in (Event.REQUEUE, Event.EXPIRE):
        with pytest.raises(LifeError):
            job.advance(event)


@given(st.lists(st.sampled_from(Event)))
def test_whatever_happens_a_job_ends_at_most_once(events: list[Event]) -> None:
    job, ends = Job("row", 0.0, Recorder()), 0
    for event in events:
        was_open = job.is_open
        try:
            job.advance(event)
        except LifeError:
            continue
        ends += was_open and not job.is_open
    assert ends == (0 if job.is_open else 1)
