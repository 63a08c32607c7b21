"""Who travels together, and when; what waits, what expires, when it is full.

Rules of the room
1. A job is ours from `offer` until it is answered or withdrawn; `open` counts those, waiting and sent alike.
2. Jobs leave in the order they came. Batches that are tried again leave before everything else, as they are.
3. A batch never holds a job that is no longer open: who left or expired while waiting is not sent.
4. Collecting takes no time here: a policy says how many may leave now, and when to ask again.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from runner.scheduling.job import Cause, Event, Failure, Job

#: A batch is sent ahead to a busy worker only where batches are this short, in seconds: there the way to the
#: worker and back is what counts; behind a long batch it would wait while another worker falls idle.
SEND_AHEAD_BELOW = 0.02


class Policy(Protocol):
    """When waiting jobs may leave."""

    @property
    def batch_size(self) -> int:
        """Most jobs in one batch."""

    def ready(self, waiting: int, oldest: float, now: float) -> int:
        """How many may leave now; `oldest` is the arrival of the first in line."""

    def wake(self, oldest: float) -> float:
        """When `ready` may answer differently though nobody new arrives; inf = never."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """A free worker takes what is there at once; batches grow by themselves while workers are busy."""

    batch_size: int

    def ready(self, waiting: int, oldest: float, now: float) -> int:
        return min(waiting, self.batch_size)

    def wake(self, oldest: float) -> float:
        return math.inf


@dataclass(frozen=True, slots=True)
class Delay:
    """TorchServe's rule: leave when the batch is full or its oldest job has waited `delay` seconds.

    Counted from arrival; TorchServe counts from the moment a worker picks up the first job
    (https://github.com/pytorch/serve/issues/2478).
    """

    batch_size: int
    delay: float

    def ready(self, waiting: int, oldest: float, now: float) -> int:
        if waiting >= self.batch_size:
            return self.batch_size
        return waiting if now >= oldest + self.delay else 0

    def wake(self, oldest: float) -> float:
        return oldest + self.delay


class Batch:
    """Jobs that travel together. `number` names the batch on the wire.

    `started`: when its worker began it; `heard`: when the worker last spoke of it (monotonic seconds); `hung`: the
    worker was ended for not speaking of it.
    """

    __slots__ = ("heard", "hung", "jobs", "number", "started")

    def __init__(self, number: int, jobs: list[Job]) -> None:
        self.number = number
        self.jobs = jobs
        self.started = self.heard = 0.0
        self.hung = False

    def start(self, now: float) -> None:
        self.started = self.heard = now

    @property
    def is_suspect(self) -> bool:
        """Whether one of its jobs was there when two workers ended. Such a batch runs beside no other."""
        return any(job.deaths > 1 for job in self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


class Full:
    """The queue has no room for this job."""


FULL = Full()


class Batcher:
    """The waiting room of one model version, of `capacity` waiting jobs."""

    def __init__(self, policy: Policy, capacity: int) -> None:
        self.policy = policy
        self.capacity = capacity
        self._queue: OrderedDict[Job, None] = OrderedDict()
        self._again: deque[list[Job]] = deque()
        self._open: set[Job] = set()
        self._earliest = math.inf
        self._numbers = 0

    @property
    def waiting(self) -> int:
        """Jobs in line for their first try."""
        return len(self._queue)

    @property
    def open(self) -> int:
        """Jobs that have no answer yet."""
        return len(self._open)

    @property
    def has_retries(self) -> bool:
        """Whether jobs wait to be tried again."""
        return bool(self._again)

    @property
    def next_is_suspect(self) -> bool:
        """Whether the batch that leaves next must run beside no other."""
        return bool(self._again) and any(job.deaths > 1 for job in self._again[0])

    def offer(self, job: Job) -> Full | None:
        """Take the job in, or say that there is no room."""
        if len(self._queue) >= self.capacity:
            return FULL
        self._queue[job] = None
        self._open.add(job)
        if job.deadline is not None and job.deadline < self._earliest:
            self._earliest = job.deadline
        return None

    def take(self, now: float, *, full_only: bool = False) -> Batch | None:
        """The next batch for a worker, its jobs SENT; None when nothing may leave.

        `full_only` is for sending ahead to a busy worker: only a full batch of first tries leaves.
        """
        if full_only:
            return self._form(now) if len(self._queue) >= self.policy.batch_size else None
        return self._retried(now) or self._form(now)

    def _retried(self, now: float) -> Batch | None:
        while self._again:
            jobs = [job for job in self._again.popleft() if job.is_open]
            if jobs:
                return self._send(jobs, now)
        return None

    def _form(self, now: float) -> Batch | None:
        queue = self._queue
        if not queue:
            return None
        count = self.policy.ready(len(queue), next(iter(queue)).arrived, now)
        return self._send([queue.popitem(last=False)[0] for _ in range(count)], now) if count else None

    def _send(self, jobs: list[Job], now: float) -> Batch:
        for job in jobs:
            job.advance(Event.TAKE)
            job.sent = now
        self._numbers += 1
        return Batch(self._numbers, jobs)

    def again(self, jobs: Iterable[Job]) -> None:
        """Put jobs that were SENT back, as one batch, in front of everybody who waits."""
        jobs = [job for job in jobs if job.is_open]
        for job in jobs:
            job.advance(Event.REQUEUE)
        if jobs:
            self._again.append(jobs)

    def answer(self, job: Job, answer: Any) -> bool:
        """Give the job its answer. False if it had one already, or its client had left."""
        return self._end(job, Event.ANSWER, answer) if job.is_open else False

    def piece(self, job: Job, reply: Any) -> None:
        """Give the job a piece of its answer; dropped if it needs none any more."""
        if job.is_open:
            job.advance(Event.PIECE)
            job.client.piece(reply)

    def withdraw(self, job: Job) -> bool:
        """The client has left: the job is never sent, or its answer is dropped. False if it was answered."""
        return self._end(job, Event.GONE, None) if job.is_open else False

    def _end(self, job: Job, event: Event, answer: Any) -> bool:
        job.advance(event)
        self._open.discard(job)
        self._queue.pop(job, None)
        if event is not Event.GONE:
            job.client.deliver(answer)
        return True

    def expire(self, now: float) -> list[Job]:
        """Answer every open job whose deadline has passed, waiting or sent, and return them. A deadline is for the
        first piece: what streams is not late."""
        if now < self._earliest:
            return []
        waiting = (job for job in self._open if not job.is_streaming)
        dated = [(job.deadline, job) for job in waiting if job.deadline is not None]
        late = [job for deadline, job in dated if deadline <= now]
        for job in late:
            self._end(job, Event.EXPIRE, Failure(Cause.EXPIRED))
        self._earliest = min((deadline for deadline, _ in dated if deadline > now), default=math.inf)
        return late

    def next_deadline(self) -> float:
        """When to call `take` or `expire` again though nothing happens; inf = no need."""
        if not self._queue:
            return self._earliest
        return min(self._earliest, self.policy.wake(next(iter(self._queue)).arrived))

    def open_since(self, before: float) -> list[Job]:
        """Jobs that arrived before then and have no answer yet."""
        return [job for job in self._open if job.arrived < before]

    def close(self, failure: Failure) -> list[Job]:
        """Answer every open job with `failure` and return them."""
        jobs = sorted(self._open, key=lambda job: job.arrived)
        for job in jobs:
            self._end(job, Event.ANSWER, failure)
        return jobs


def may_send_ahead(batch_seconds: float) -> bool:
    """Whether one more batch may go to a worker that is still busy with another, which takes so long."""
    return batch_seconds < SEND_AHEAD_BELOW
