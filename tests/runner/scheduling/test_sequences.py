"""Sequences: one worker each, one request at a time, in order; and what becomes of them."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runner.scheduling.batcher import FULL, Batch
from runner.scheduling.job import Job
from runner.scheduling.sequences import LOST, Limits, Mark, SequenceBatcher


class Client:
    def __init__(self) -> None:
        self.answers: list[Any] = []

    def deliver(self, answer: Any) -> None:
        self.answers.append(answer)

    def piece(self, reply: Any) -> None:
        raise AssertionError("no pieces here")

    def still_waiting(self) -> None:
        raise AssertionError("nobody asks here")


class Room:
    """A waiting room under a clock of its own."""

    def __init__(self, batch_size: int = 4, capacity: int = 100, **limits: Any) -> None:
        self.now = 0.0
        bounds = Limits(**{"sequences": 10, "waiting": 10, "idle": math.inf, **limits})
        self.batcher = SequenceBatcher(batch_size, capacity, bounds, lambda: self.now)

    def ask(self, name: str, row: Any = None, *, starts: bool = False, ends: bool = False) -> Any:
        """The job, or why not."""
        job = Job(row if row is not None else name, self.now, Client())
        return self.batcher.join(job, Mark(name, starts, ends)) or job

    def plain(self, row: str) -> Job:
        job = Job(row, self.now, Client())
        assert self.batcher.offer(job) is None
        return job

    def take(self, worker: str, fresh: int = 100) -> list[Any]:
        batch = self.batcher.take_for(worker, self.now, fresh)
        return [job.row for job in batch.jobs] if batch else []

    def answer(self, *jobs: Job) -> None:
        for job in jobs:
            self.batcher.answer(job, "done")


def test_requests_of_a_sequence_run_one_at_a_time_in_order_on_one_worker() -> None:
    room = Room()
    first = room.ask("s", 1)
    room.ask("s", 2)
    assert room.take("A") == [1]
    assert (room.take("A"), room.take("B")) == ([], [])
    room.answer(first)
    assert (room.take("B"), room.take("A")) == ([], [2])


def test_a_batch_holds_one_request_of_each_sequence_and_requests_without_one() -> None:
    room = Room(batch_size=3)
    for name, row in (("s", "s1"), ("s", "s2"), ("t", "t1")):
        room.ask(name, row)
    room.plain("plain")
    assert room.take("A") == ["s1", "t1", "plain"]


def test_new_sequences_are_shared_out() -> None:
    room = Room()
    for name in "stuv":
        room.ask(name)
    assert room.batcher.fresh == 4
    assert (room.take("A", 2), room.take("B", 2)) == (["s", "t"], ["u", "v"])
    assert (room.batcher.held_by("A"), room.batcher.fresh) == (2, 0)


def test_the_last_request_ends_its_sequence_and_the_next_one_may_go_anywhere() -> None:
    room = Room()
    last = room.ask("s", ends=True)
    room.take("A")
    room.answer(last)
    assert room.batcher.sequences == 0
    room.ask("s", "again")
    assert room.take("B") == ["again"]


def test_a_sequence_of_which_nothing_more_comes_makes_room_when_it_is_answered() -> None:
    room = Room(sequences=1)
    first = room.ask("s")
    room.batcher.end("s")
    assert (room.batcher.sequences, room.ask("t")) == (1, FULL)
    room.take("a")
    room.answer(first)
    room.batcher.end("s")
    room.batcher.end("nobody")
    assert isinstance(room.ask("t"), Job)


def test_silence_ends_a_sequence() -> None:
    room = Room(idle=5)
    job = room.ask("s", 1)
    room.take("A")
    room.now = 20
    room.answer(job)
    room.now = 24
    second = room.ask("s", 2)
    assert (room.take("B"), room.take("A")) == ([], [2])
    room.answer(second)
    room.now = 30
    room.ask("s", 3)
    assert room.take("B") == [3]


def test_there_are_so_many_sequences_and_an_idle_one_makes_room() -> None:
    room = Room(sequences=1, idle=5)
    job = room.ask("s")
    assert room.ask("t") is FULL
    room.take("A")
    room.answer(job)
    assert room.ask("t") is FULL
    room.now = 6
    assert isinstance(room.ask("t"), Job)


def test_so_many_requests_of_one_sequence_wait() -> None:
    room = Room(waiting=1)
    room.ask("s", 1)
    assert room.ask("s", 2) is FULL
    assert room.take("A") == [1]
    assert isinstance(room.ask("s", 2), Job)
    assert room.ask("s", 3) is FULL


def test_a_full_queue_leaves_no_sequence_behind() -> None:
    room = Room(capacity=0)
    assert (room.ask("s"), room.batcher.sequences) == (FULL, 0)


def test_who_leaves_before_a_first_batch_leaves_no_sequence_behind() -> None:
    room = Room()
    room.batcher.withdraw(room.ask("s"))
    assert room.batcher.sequences == 0


def test_a_worker_that_ends_takes_its_sequences_with_it_and_each_is_told_once() -> None:
    room = Room()
    running, waiting, other = room.ask("s", 1), room.ask("s", 2), room.ask("t", 3)
    assert room.take("A", 1) == [1]
    assert room.take("B") == [3]
    lost = room.batcher.worker_lost("A")
    assert set(lost) == {running, waiting}
    for job in lost:
        room.batcher.answer(job, LOST)
    assert room.ask("s") == LOST
    assert isinstance(room.ask("s", 4), Job)
    assert room.take("C") == [4]
    assert other.is_open


def test_a_start_after_a_loss_begins_anew_at_once() -> None:
    room = Room()
    room.ask("s")
    room.take("A")
    for job in room.batcher.worker_lost("A"):
        room.batcher.answer(job, LOST)
    assert isinstance(room.ask("s", starts=True), Job)


def test_a_request_that_is_put_back_goes_to_its_own_worker() -> None:
    room = Room()
    job = room.ask("s")
    batch = room.batcher.take_for("A", 0.0, 1)
    assert batch is not None
    room.batcher.again(batch.jobs)
    assert (room.take("B"), room.take("A")) == ([], [job.row])


class Sequences(RuleBasedStateMachine):
    """Whatever happens: order within a sequence, one at a time, one worker, one answer each, nothing left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(batch_size=2, capacity=8, sequences=3, waiting=3)
        self.numbers: dict[str, int] = {}
        self.jobs: list[Job] = []
        self.running: dict[str, list[Batch]] = {"A": [], "B": []}
        self.seen: dict[str, list[int]] = {}
        self.home: dict[str, str] = {}

    @rule(name=st.sampled_from("stuv"), ends=st.booleans())
    def ask(self, name: str, ends: bool) -> None:
        number = self.numbers[name] = self.numbers.get(name, 0) + 1
        found = self.room.ask(name, (name, number), ends=ends)
        if isinstance(found, Job):
            self.jobs.append(found)

    @rule()
    def ask_without(self) -> None:
        if self.room.batcher.waiting < 8:
            self.jobs.append(self.room.plain("plain"))

    @rule(worker=st.sampled_from("AB"), fresh=st.integers(0, 3))
    def take(self, worker: str, fresh: int) -> None:
        if self.running[worker]:
            return
        batch = self.room.batcher.take_for(worker, 0.0, fresh)
        if batch is None:
            return
        names = [job.row[0] for job in batch.jobs if job.row != "plain"]
        assert len(names) == len(set(names)), "two of one sequence together"
        for job in batch.jobs:
            if job.row != "plain":
                name, number = job.row
                assert number > max(self.seen.get(name, [0])), "out of order"
                self.seen.setdefault(name, []).append(number)
        self.running[worker].append(batch)

    @rule(worker=st.sampled_from("AB"))
    def finish(self, worker: str) -> None:
        for batch in self.running[worker]:
            self.room.answer(*batch.jobs)
        self.running[worker].clear()

    @rule(worker=st.sampled_from("AB"))
    def die(self, worker: str) -> None:
        for job in self.room.batcher.worker_lost(worker):
            self.room.batcher.answer(job, LOST)
        for batch in self.running[worker]:
            self.room.batcher.again([job for job in batch.jobs if job.is_open])
        self.running[worker].clear()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        self.room.batcher.withdraw(data.draw(st.sampled_from(self.jobs)))

    @invariant()
    def no_more_sequences_than_allowed(self) -> None:
        assert self.room.batcher.sequences <= 3

    def teardown(self) -> None:
        for _ in range(100):
            for worker in "AB":
                self.finish(worker)
                self.take(worker, 3)
        assert self.room.batcher.open == 0
        assert all(len(job.client.answers) <= 1 for job in self.jobs)


TestSequences = Sequences.TestCase


@given(st.integers(1, 5), st.integers(1, 20))
def test_every_new_sequence_finds_a_worker(workers: int, count: int) -> None:
    room = Room(batch_size=3, sequences=100)
    for number in range(count):
        room.ask(str(number))
    held = 0
    for worker in range(workers):
        held += len(room.take(str(worker), math.ceil(count / workers)))
    assert held == min(count, workers * min(3, math.ceil(count / workers)))
