"""The batcher under a clock of ours: no job lost, doubled, reordered within its priority, or late without need.

Each two bytes are an operation and its argument. Retries are the first priority, first tries the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from runner.scheduling.batcher import Batch, Batcher, Delay, Greedy, Policy
from runner.scheduling.job import Cause, Failure, Job
from tests.runner.scheduling.clients import answers, make_job

_TICK = 1 / 64  # seconds; exact in binary, so that sums are


class Life:
    """A batcher, its jobs, and what a plain account of them says. `number` of a job: in the order they came."""

    def __init__(self, policy: Policy, capacity: int) -> None:
        self.now = 0.0
        self.batcher = Batcher(policy, capacity)
        self.policy = policy
        self.waiting: list[Job] = []
        self.again: list[list[Job]] = []
        self.flying: list[Batch] = []
        self.accepted: list[Job] = []
        self.left: set[int] = set()

    def arrive(self, number: int) -> None:
        deadline = self.now + number * _TICK if number else None
        job = make_job(len(self.accepted), arrived=self.now, deadline=deadline)
        full = len(self.waiting) >= self.batcher.capacity
        assert (self.batcher.offer(job) is None) is not full, "room is as the account says"
        if not full:
            self.accepted.append(job)
            self.waiting.append(job)

    def take(self, number: int) -> None:
        """As a free worker does, or, for an odd number, as one that is sent ahead."""
        expected = self._ahead() if number % 2 else self._retried() or self._first_tries()
        batch = self.batcher.take(self.now, full_only=bool(number % 2))
        found = [] if batch is None else batch.jobs
        assert found == expected, "who leaves is who came first, retries before all others, and not later than due"
        assert all(job.is_open for job in found)
        if batch is not None:
            self.flying.append(batch)
            self.waiting = [job for job in self.waiting if job not in found]

    def _ahead(self) -> list[Job]:
        size = self.policy.batch_size
        return self.waiting[:size] if len(self.waiting) >= size else []

    def _retried(self) -> list[Job]:
        while self.again:
            if jobs := [job for job in self.again.pop(0) if job.is_open]:
                return jobs
        return []

    def _first_tries(self) -> list[Job]:
        due = isinstance(self.policy, Greedy) or len(self.waiting) >= self.policy.batch_size
        due = due or bool(self.waiting) and self.now >= self.policy.wake(self.waiting[0].arrived)
        return self.waiting[: self.policy.batch_size] if due else []

    def answer(self, number: int) -> None:
        if self.flying:
            for job in self.flying.pop(number % len(self.flying)).jobs:
                was_open = job.is_open
                assert self.batcher.answer(job, "reply") is was_open

    def retry(self, number: int) -> None:
        """The whole batch, or, for an odd number, each job alone."""
        if not self.flying:
            return
        jobs = self.flying.pop(number // 2 % len(self.flying)).jobs
        jobs = [job for job in jobs if not (job.is_streaming and self.batcher.answer(job, "broken"))]
        for party in [[job] for job in jobs] if number % 2 else [jobs]:
            if still := [job for job in party if job.is_open]:
                self.again.append(still)
            self.batcher.again(party)

    def piece(self, number: int) -> None:
        if self.flying:
            jobs = self.flying[number % len(self.flying)].jobs
            self.batcher.piece(jobs[number % len(jobs)], "piece")

    def leave(self, number: int) -> None:
        if self.accepted:
            job = self.accepted[number % len(self.accepted)]
            if self.batcher.withdraw(job):
                self.left.add(job.row)

    def wait(self, number: int) -> None:
        """Time passes; who watches the clock wakes when the batcher asked for it, never later."""
        until = self.now + number * _TICK
        while (alarm := self.batcher.next_deadline()) <= until and alarm > self.now:
            self.now = alarm
            self.expire(0)
        self.now = until
        self.expire(0)

    def expire(self, _: int) -> None:
        late = {
            job.row
            for job in self.accepted
            if job.is_open and not job.is_streaming and job.deadline is not None and job.deadline <= self.now
        }
        assert {job.row for job in self.batcher.expire(self.now)} == late, "who is late is told so at once"

    def check(self) -> None:
        self.waiting = [job for job in self.waiting if job.is_open]
        told = [len(answers(job)) for job in self.accepted]
        assert all(count <= (job.row not in self.left) for count, job in zip(told, self.accepted, strict=True))
        assert self.batcher.open == len(self.accepted) - len(self.left) - sum(told), "nobody is lost"
        assert self.batcher.waiting == len(self.waiting)
        if self.waiting:
            assert self.batcher.next_deadline() <= self.policy.wake(self.waiting[0].arrived)

    def end(self) -> None:
        self.batcher.close(Failure(Cause.STOPPED))
        assert all(len(answers(job)) == (job.row not in self.left) for job in self.accepted)
        assert self.batcher.open == 0 and self.batcher.take(math.inf) is None


_OPERATIONS: tuple[Callable[[Life, int], None], ...] = (
    Life.arrive,
    Life.take,
    Life.answer,
    Life.retry,
    Life.piece,
    Life.leave,
    Life.wait,
)


def one(data: bytes) -> None:
    """Two bytes of policy and capacity, then the operations."""
    if len(data) < 2:
        return
    size, capacity = data[0] % 5 + 1, data[1] % 9 + 1
    life = Life(Delay(size, data[0] // 5 * _TICK) if data[0] % 2 else Greedy(size), capacity)
    for place in range(2, len(data) - 1, 2):
        _OPERATIONS[data[place] % len(_OPERATIONS)](life, data[place + 1])
        life.check()
    life.end()
