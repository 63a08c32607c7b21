"""Requests that belong together: one worker for a sequence, one of its requests at a time, in order.

TorchServe's headers say what belongs together: `ts_request_sequence_id`, with `ts_request_sequence_start` and
`…_end`. As there, an id that is not known begins a sequence. Unlike there, nobody's state is lost in silence: when a
worker ends, the open requests of its sequences are told, and so is the next one of each.

Rules of the room
1. A batch holds at most one request of a sequence; none leaves while another one of it runs.
2. A sequence that a worker has seen never goes to another one, and none of its requests is tried again.
3. Requests without a sequence go wherever there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from runner.scheduling.batcher import FULL, Batch, Batcher, Full, Greedy
from runner.scheduling.job import Cause, Event, Failure, Job

LOST = Failure(Cause.LOST)


@dataclass(frozen=True, slots=True)
class Limits:
    """`sequences`: how many there may be at once; `waiting`: requests of one that wait; `idle`: seconds of silence
    that end one, inf for never."""

    sequences: int
    waiting: int
    idle: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What a request says of its sequence."""

    id: str
    starts: bool = False
    ends: bool = False


@dataclass(eq=False, slots=True)
class _Sequence:
    """`worker`: whose state it is, None before its first batch; `lost`: that worker is gone; `running`: the request
    under way; `waiting`: how many wait; `touched`: when it was last heard of."""

    id: str
    touched: float
    worker: Hashable | None = None
    lost: bool = False
    running: Job | None = None
    waiting: int = 0
    ending: set[Job] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        return self.running is None and not self.waiting


class SequenceBatcher(Batcher):
    """The waiting room of a model with state. `now`: monotonic seconds."""

    def __init__(self, batch_size: int, capacity: int, limits: Limits, now: Callable[[], float]) -> None:
        super().__init__(Greedy(batch_size), capacity)
        self._limits = limits
        self._now = now
        self._sequences: dict[str, _Sequence] = {}
        self._of: dict[Job, _Sequence] = {}

    @property
    def sequences(self) -> int:
        """How many there are."""
        return len(self._sequences)

    def join(self, job: Job, mark: Mark) -> Full | Failure | None:
        """`offer` for a request of a sequence. A Failure: the sequence's state is lost, and now that is known."""
        sequence = self._find(mark)
        if sequence is None or sequence.waiting >= self._limits.waiting:
            return FULL
        if sequence.lost:
            del self._sequences[mark.id]
            return LOST
        if self.offer(job) is not None:
            if sequence.is_idle and sequence.worker is None:
                del self._sequences[mark.id]
            return FULL
        self._of[job] = sequence
        sequence.waiting += 1
        sequence.touched = self._now()
        if mark.ends:
            sequence.ending.add(job)
        return None

    def _find(self, mark: Mark) -> _Sequence | None:
        """The sequence of that id, a new one if need be; None when there are too many."""
        found = self._sequences.get(mark.id)
        if found is not None and (self._is_over(found) or (mark.starts and found.is_idle)):
            del self._sequences[mark.id]
            found = None
        if found is None:
            if len(self._sequences) >= self._limits.sequences:
                self._prune()
            if len(self._sequences) >= self._limits.sequences:
                return None
            found = self._sequences[mark.id] = _Sequence(mark.id, self._now())
        return found

    def _is_over(self, sequence: _Sequence) -> bool:
        return sequence.is_idle and self._now() - sequence.touched > self._limits.idle

    def _prune(self) -> None:
        for name, sequence in [*self._sequences.items()]:
            if self._is_over(sequence) or (sequence.lost and sequence.is_idle):
                del self._sequences[name]

    def end(self, name: str) -> None:
        """Nothing more will come of the sequence: it makes room, unless a request of it is still open."""
        found = self._sequences.get(name)
        if found is not None and found.is_idle:
            del self._sequences[name]

    @property
    def fresh(self) -> int:
        """How many sequences wait for their first worker."""
        return sum(sequence.worker is None for sequence in self._sequences.values())

    def take_for(self, worker: Hashable, now: float, fresh: int) -> Batch | None:
        """The next batch for that worker, with at most so many new sequences; None when nothing may leave for it."""
        retried = self._retried_by(worker, now)
        if retried is not None:
            return retried
        jobs: list[Job] = []
        for job in self._queue:
            if len(jobs) == self.policy.batch_size:
                break
            is_new = job in self._of and self._of[job].worker is None
            if not (is_new and fresh <= 0) and self._may_go(job, worker):
                fresh -= is_new
                jobs.append(job)
        for job in jobs:
            del self._queue[job]
        return self._send(jobs, now) if jobs else None

    def _retried_by(self, worker: Hashable, now: float) -> Batch | None:
        for place, jobs in enumerate(self._again):
            if all(job not in self._of or self._of[job].worker == worker for job in jobs):
                del self._again[place]
                still = [job for job in jobs if job.is_open]
                return self._send(still, now) if still else self._retried_by(worker, now)
        return None

    def _may_go(self, job: Job, worker: Hashable) -> bool:
        """Whether the worker may have it; then its sequence is that worker's, and busy."""
        sequence = self._of.get(job)
        if sequence is None:
            return True
        if sequence.running is not None or sequence.worker not in (None, worker):
            return False
        sequence.worker, sequence.running = worker, job
        sequence.waiting -= 1
        return True

    def held_by(self, worker: Hashable) -> int:
        """How many sequences are that worker's."""
        return sum(sequence.worker == worker for sequence in self._sequences.values())

    def worker_lost(self, worker: Hashable) -> list[Job]:
        """The worker's sequences are lost: their open jobs, which need an answer."""
        for sequence in self._sequences.values():
            if sequence.worker == worker:
                sequence.lost = True
        return [job for job, sequence in self._of.items() if sequence.lost and job.is_open]

    def next_deadline(self) -> float:
        # No policy says when to look again: a worker that gets room does.
        return self._earliest

    def _end(self, job: Job, event: Event, answer: Any) -> bool:
        sequence = self._of.pop(job, None)
        if sequence is not None:
            self._leave(sequence, job)
        return super()._end(job, event, answer)

    def _leave(self, sequence: _Sequence, job: Job) -> None:
        was_running, ends = sequence.running is job, job in sequence.ending
        if was_running:
            sequence.running = None
        else:
            sequence.waiting -= 1
        sequence.ending.discard(job)
        sequence.touched = self._now()
        if sequence.is_idle and (ends or sequence.worker is None):
            self._sequences.pop(sequence.id, None)
        elif ends and was_running:
            # What waits behind the last request of a sequence begins another one.
            sequence.worker, sequence.lost = None, False
