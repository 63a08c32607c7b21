"""What becomes of a batch that raised, or whose worker died. One table for both.

| what happened                          | jobs in company              | a job alone                        |
|----------------------------------------|------------------------------|------------------------------------|
| worker died before the batch started   | the same batch again         | again                              |
| worker died running it, first time     | the same batch again         | again                              |
| worker died running it, second time    | each alone                   | answered: KILLED                   |
| no answer within responseTimeout       | each alone                   | answered: HUNG (not tried again)   |
| the handler raised                     | each alone (rowRetry: true)  | answered: RAISED                   |

A job whose stream has begun is answered with the failure in each of these cases: its client would get pieces twice.
So only the guilty row of a batch fails, and a row that kills is tried at most three times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.scheduling.job import Cause, Failure, Job


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler failed as a whole. `status`, `kind` and `message` are the worker's words."""

    status: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Died:
    """The worker is gone. `started`: it had begun this batch; `hung`: we ended it for giving no answer."""

    started: bool
    hung: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Try these jobs once more, as one batch."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Give this job up with this answer."""

    job: Job
    failure: Failure


def after(jobs: Sequence[Job], outcome: Raised | Died, *, row_retry: bool) -> list[Again | Answer]:
    """What to do with the open jobs of a batch that ended so."""
    failure = _failure(outcome)
    broken: list[Again | Answer] = [Answer(job, failure) for job in jobs if job.is_streaming]
    untouched = [job for job in jobs if job.is_open and not job.is_streaming]
    return broken + _after(untouched, outcome, failure, row_retry)


def _after(jobs: list[Job], outcome: Raised | Died, failure: Failure, row_retry: bool) -> list[Again | Answer]:
    if isinstance(outcome, Raised):
        return _apart(jobs) if row_retry and len(jobs) > 1 else [Answer(job, failure) for job in jobs]
    if not outcome.started:
        return _together(jobs)
    for job in jobs:
        job.deaths += 1
    if len(jobs) > 1:
        return _apart(jobs) if outcome.hung or jobs[0].deaths > 1 else _together(jobs)
    if outcome.hung:
        return [Answer(job, failure) for job in jobs]
    return [Answer(job, failure) if job.deaths > 1 else Again((job,)) for job in jobs]


def _failure(outcome: Raised | Died) -> Failure:
    if isinstance(outcome, Raised):
        return Failure(Cause.RAISED, outcome.status, outcome.kind, outcome.message)
    return Failure(Cause.HUNG if outcome.hung else Cause.KILLED)


def _together(jobs: Sequence[Job]) -> list[Again | Answer]:
    return [Again(tuple(jobs))] if jobs else []


def _apart(jobs: Sequence[Job]) -> list[Again | Answer]:
    return [Again((job,)) for job in jobs]
