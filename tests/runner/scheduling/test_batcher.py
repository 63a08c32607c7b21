from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runner.scheduling.batcher import FULL, Batch, Batcher, Delay, Greedy, may_send_ahead
from runner.scheduling.job import Cause, Failure, Job
from tests.runner.scheduling.clients import answers, make_job, pieces


def make_batcher(batch_size: int = 4, capacity: int = 100, delay: float | None = None) -> Batcher:
    policy = Greedy(batch_size) if delay is None else Delay(batch_size, delay)
    return Batcher(policy, capacity)


def offer(batcher: Batcher, count: int, *, at: float = 0.0, deadline: float | None = None) -> list[Job]:
    jobs = [make_job(number, arrived=at, deadline=deadline) for number in range(count)]
    for job in jobs:
        assert batcher.offer(job) is None
    return jobs


def rows(batch: Batch | None) -> list[Any]:
    return [] if batch is None else [job.row for job in batch.jobs]


def test_a_lone_job_leaves_at_once_when_greedy() -> None:
    batcher = make_batcher()
    offer(batcher, 1)
    assert rows(batcher.take(0.0)) == [0]


def test_a_batch_holds_at_most_batch_size_jobs_in_order() -> None:
    batcher = make_batcher(batch_size=4)
    offer(batcher, 6)
    assert rows(batcher.take(0.0)) == [0, 1, 2, 3]
    assert rows(batcher.take(0.0)) == [4, 5]
    assert batcher.take(0.0) is None


def test_delay_holds_a_lone_job_until_its_own_delay_has_passed() -> None:
    batcher = make_batcher(delay=0.1)
    offer(batcher, 1, at=5.0)
    assert batcher.take(5.05) is None
    assert batcher.next_deadline() == 5.1
    assert rows(batcher.take(5.1)) == [0]


def test_delay_lets_a_full_batch_go_at_once() -> None:
    batcher = make_batcher(batch_size=2, delay=10.0)
    offer(batcher, 3)
    assert rows(batcher.take(0.0)) == [0, 1]
    assert batcher.take(0.0) is None


def test_a_full_queue_refuses_and_forgets() -> None:
    batcher = make_batcher(capacity=2)
    offer(batcher, 2)
    assert batcher.offer(make_job()) is FULL
    assert batcher.open == 2


def test_jobs_in_a_worker_leave_room_in_the_queue() -> None:
    batcher = make_batcher(capacity=2)
    offer(batcher, 2)
    batcher.take(0.0)
    assert batcher.offer(make_job()) is None


def test_a_job_whose_client_left_is_never_sent() -> None:
    batcher = make_batcher()
    first, second = offer(batcher, 2)
    assert batcher.withdraw(first)
    assert batcher.take(0.0).jobs == [second]  # type: ignore[union-attr]
    assert answers(first) == []


def test_an_answer_for_a_client_that_left_is_dropped() -> None:
    batcher = make_batcher()
    (job,) = offer(batcher, 1)
    batcher.take(0.0)
    batcher.withdraw(job)
    assert not batcher.answer(job, "late")
    assert answers(job) == []
    assert batcher.open == 0


def test_a_waiting_job_past_its_deadline_is_answered_and_not_sent() -> None:
    batcher = make_batcher()
    (job,) = offer(batcher, 1, deadline=1.0)
    assert batcher.expire(0.9) == []
    assert batcher.expire(1.0) == [job]
    assert answers(job) == [Failure(Cause.EXPIRED)]
    assert batcher.take(1.0) is None


def test_a_sent_job_past_its_deadline_is_answered_once() -> None:
    batcher = make_batcher()
    (job,) = offer(batcher, 1, deadline=1.0)
    batcher.take(0.0)
    batcher.expire(2.0)
    assert not batcher.answer(job, "too late")
    assert answers(job) == [Failure(Cause.EXPIRED)]


def test_a_deadline_is_for_the_first_piece() -> None:
    batcher = make_batcher()
    (job,) = offer(batcher, 1, deadline=1.0)
    batcher.take(0.0)
    batcher.piece(job, "a")
    assert batcher.expire(2.0) == []
    assert batcher.answer(job, "b")
    assert answers(job) == ["b"]


def test_a_piece_for_a_client_that_left_is_dropped() -> None:
    batcher = make_batcher()
    (job,) = offer(batcher, 1)
    batcher.take(0.0)
    batcher.withdraw(job)
    batcher.piece(job, "a")
    assert pieces(job) == []


def test_the_next_deadline_is_the_earliest_of_the_open_jobs() -> None:
    batcher = make_batcher()
    offer(batcher, 1, deadline=3.0)
    offer(batcher, 1, deadline=2.0)
    assert batcher.next_deadline() == 2.0
    batcher.expire(2.0)
    assert batcher.next_deadline() == 3.0


def test_a_queue_without_deadlines_never_asks_to_be_woken() -> None:
    batcher = make_batcher()
    offer(batcher, 3)
    assert batcher.next_deadline() == math.inf


def test_jobs_that_are_tried_again_leave_before_everybody_else_and_as_they_were() -> None:
    batcher = make_batcher(batch_size=2)
    offer(batcher, 5)
    first = batcher.take(0.0)
    assert first is not None
    batcher.again([first.jobs[0]])
    batcher.again([first.jobs[1]])
    assert [rows(batcher.take(0.0)) for _ in range(3)] == [[0], [1], [2, 3]]


def test_a_retry_skips_who_left_meanwhile() -> None:
    batcher = make_batcher()
    offer(batcher, 2)
    batch = batcher.take(0.0)
    assert batch is not None
    batcher.again(batch.jobs)
    batcher.withdraw(batch.jobs[0])
    assert rows(batcher.take(0.0)) == [1]


def test_only_a_full_batch_is_sent_ahead() -> None:
    batcher = make_batcher(batch_size=2)
    offer(batcher, 3)
    assert rows(batcher.take(0.0, full_only=True)) == [0, 1]
    assert batcher.take(0.0, full_only=True) is None


def test_nothing_is_sent_ahead_behind_a_long_batch() -> None:
    assert may_send_ahead(0.001)
    assert not may_send_ahead(1.0)


def test_closing_answers_everything_once() -> None:
    batcher = make_batcher(batch_size=1)
    jobs = offer(batcher, 3)
    batcher.take(0.0)
    batcher.close(Failure(Cause.STOPPED))
    assert [answers(job) for job in jobs] == [[Failure(Cause.STOPPED)]] * 3
    assert batcher.open == 0
    assert batcher.take(0.0) is None


def test_open_since_names_the_jobs_that_have_waited_for_longer_in_line_or_in_a_worker() -> None:
    batcher = make_batcher(batch_size=1)
    early = offer(batcher, 2, at=1.0)
    offer(batcher, 1, at=2.0)
    batcher.take(2.0)
    assert set(batcher.open_since(1.5)) == set(early)


@given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 8))
def test_greedy_is_work_conserving(arrivals: list[int], batch_size: int) -> None:
    """A free worker never finds the queue closed while somebody waits."""
    batcher = make_batcher(batch_size=batch_size, capacity=1000)
    for count in arrivals:
        offer(batcher, count)
        batch = batcher.take(0.0)
        assert batch is not None
        assert len(batch) == min(batch_size, len(batch) + batcher.waiting)


class BatcherLife(RuleBasedStateMachine):
    """Random lives: no job is lost, doubled or reordered."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher = Batcher(Delay(3, 0.5), capacity=6)
        self.jobs: list[Job] = []
        self.flying: list[Batch] = []
        self.left: set[Job] = set()

    @rule(deadline=st.none() | st.floats(0.1, 3.0))
    def arrive(self, deadline: float | None) -> None:
        job = make_job(len(self.jobs), arrived=self.now, deadline=None if deadline is None else self.now + deadline)
        if self.batcher.offer(job) is None:
            self.jobs.append(job)

    @rule(full_only=st.booleans())
    def take(self, full_only: bool) -> None:
        batch = self.batcher.take(self.now, full_only=full_only)
        if batch is not None:
            assert batch.jobs and all(job.is_open for job in batch.jobs)
            assert [job.row for job in batch.jobs] == sorted(job.row for job in batch.jobs)
            self.flying.append(batch)

    @precondition(lambda self: self.flying)
    @rule()
    def answer(self) -> None:
        for job in self.flying.pop(0).jobs:
            self.batcher.answer(job, "reply")

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def piece(self, data: st.DataObject) -> None:
        self.batcher.piece(data.draw(st.sampled_from(self.flying[0].jobs)), "piece")

    @precondition(lambda self: self.flying)
    @rule(apart=st.booleans())
    def again(self, apart: bool) -> None:
        jobs = [job for job in self.flying.pop().jobs if not self.gave_up(job)]
        for part in [[job] for job in jobs] if apart else [jobs]:
            self.batcher.again(part)

    def gave_up(self, job: Job) -> bool:
        return job.is_streaming and self.batcher.answer(job, "broken")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        if self.batcher.withdraw(job):
            self.left.add(job)

    @rule(step=st.floats(0.0, 1.0))
    def wait(self, step: float) -> None:
        self.now += step
        self.batcher.expire(self.now)

    @invariant()
    def every_job_has_at_most_one_answer_and_open_counts_the_rest(self) -> None:
        assert all(len(answers(job)) <= 1 for job in self.jobs)
        assert all(not answers(job) for job in self.left)
        unanswered = [job for job in self.jobs if not answers(job) and job not in self.left]
        assert self.batcher.open == len(unanswered)

    @invariant()
    def nobody_waits_past_the_alarm(self) -> None:
        if self.batcher.waiting:
            assert self.batcher.next_deadline() < math.inf

    def teardown(self) -> None:
        self.batcher.close(Failure(Cause.STOPPED))
        assert all(len(answers(job)) == 1 for job in self.jobs if job not in self.left)


TestBatcherLife = BatcherLife.TestCase
