from __future__ import annotations

import pytest

from runner.scheduling.batcher import Batcher, Greedy
from runner.scheduling.job import Cause, Event, Failure, Job
from runner.scheduling.retry import Again, Answer, Died, Raised, after
from tests.runner.scheduling.clients import answers, make_job

RAISED = Raised(503, "ValueError", "Prediction failed")


def sent(count: int) -> list[Job]:
    jobs = [make_job(number) for number in range(count)]
    for job in jobs:
        job.advance(Event.TAKE)
    return jobs


def test_a_batch_that_raised_is_tried_row_by_row() -> None:
    jobs = sent(3)
    assert after(jobs, RAISED, row_retry=True) == [Again((job,)) for job in jobs]


def test_a_row_that_raised_alone_gets_the_workers_words() -> None:
    (job,) = sent(1)
    failure = Failure(Cause.RAISED, 503, "ValueError", "Prediction failed")
    assert after([job], RAISED, row_retry=True) == [Answer(job, failure)]


def test_without_row_retry_the_whole_batch_is_answered() -> None:
    jobs = sent(2)
    actions = after(jobs, RAISED, row_retry=False)
    assert [action.job for action in actions if isinstance(action, Answer)] == jobs


def test_a_batch_that_never_started_goes_elsewhere_as_it_is() -> None:
    jobs = sent(2)
    assert after(jobs, Died(started=False), row_retry=True) == [Again(tuple(jobs))]
    assert [job.deaths for job in jobs] == [0, 0]


def test_a_batch_whose_worker_died_goes_elsewhere_once_together_then_row_by_row() -> None:
    jobs = sent(2)
    assert after(jobs, Died(started=True), row_retry=True) == [Again(tuple(jobs))]
    assert after(jobs, Died(started=True), row_retry=True) == [Again((job,)) for job in jobs]


def test_a_row_that_kills_twice_is_answered_and_not_tried_again() -> None:
    (job,) = sent(1)
    assert after([job], Died(started=True), row_retry=True) == [Again((job,))]
    assert after([job], Died(started=True), row_retry=True) == [Answer(job, Failure(Cause.KILLED))]


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (RAISED, Cause.RAISED),
        (Died(started=True), Cause.KILLED),
        (Died(started=True, hung=True), Cause.HUNG),
    ],
)
def test_a_row_whose_stream_has_begun_is_never_tried_again(outcome: Raised | Died, cause: Cause) -> None:
    begun, other = sent(2)
    begun.advance(Event.PIECE)
    broken, *rest = after([begun, other], outcome, row_retry=True)
    assert isinstance(broken, Answer) and (broken.job, broken.failure.cause) == (begun, cause)
    assert not any(action.job is begun for action in rest if isinstance(action, Answer))


def test_a_row_that_hung_alone_is_not_tried_again() -> None:
    (job,) = sent(1)
    assert after([job], Died(started=True, hung=True), row_retry=True) == [Answer(job, Failure(Cause.HUNG))]


def test_a_batch_that_hung_is_tried_row_by_row() -> None:
    jobs = sent(2)
    assert after(jobs, Died(started=True, hung=True), row_retry=True) == [Again((job,)) for job in jobs]


def test_who_left_or_expired_is_not_tried_again() -> None:
    gone, here = sent(2)
    gone.advance(Event.GONE)
    assert after([gone, here], Died(started=True), row_retry=True) == [Again((here,))]


def test_one_poison_row_among_eight_costs_only_its_own_answer() -> None:
    """The whole story, driven by a worker that dies whenever the poison is in the batch."""
    batcher = Batcher(Greedy(8), capacity=100)
    jobs = [make_job(number) for number in range(8)]
    for job in jobs:
        batcher.offer(job)
    deaths = 0
    while (batch := batcher.take(0.0)) is not None:
        if any(job.row == 5 for job in batch.jobs):
            deaths += 1
            for action in after(batch.jobs, Died(started=True), row_retry=True):
                if isinstance(action, Again):
                    batcher.again(action.jobs)
                else:
                    batcher.answer(action.job, action.failure)
        else:
            for job in batch.jobs:
                batcher.answer(job, "reply")
    assert [answers(job) for job in jobs if job.row != 5] == [["reply"]] * 7
    assert answers(jobs[5]) == [Failure(Cause.KILLED)]
    assert deaths == 3
