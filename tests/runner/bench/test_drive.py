"""A round under a virtual clock, against servers made of arithmetic."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.bench.drive import Drive, Window
from runner.bench.figures import cut, percentile
from runner.bench.outcome import Failure
from runner.bench.pace import Closed, Open
from runner.bench.schedule import poisson

SERVICE = 0.001


class Server:
    """`drive.Wires` and their clock: one worker in a row, `service` seconds each; from `stall[0]` to `stall[1]` it
    does nothing. `fails(n)`: the outcome of the n-th request."""

    def __init__(self, capacity, stall=(math.inf, math.inf), service=SERVICE, fails=lambda number: 200):
        self.now = 0.0
        self.most = 0
        self._idle = list(range(capacity))
        self._due = {}
        self._free = 0.0
        self._stall = stall
        self._service = service
        self._fails = fails
        self._number = 0

    def clock(self):
        return self.now

    def has_idle(self):
        return bool(self._idle)

    def idle(self):
        return self._idle.pop()

    def park(self, wire):
        self._idle.append(wire)

    def post(self, wire):
        assert wire not in self._due
        start = max(self.now, self._free)
        if self._stall[0] <= start < self._stall[1]:
            start = self._stall[1]
        self._free = start + self._service
        self._due[wire] = (self._free, self._fails(self._number))
        self._number += 1
        self.most = max(self.most, len(self._due))

    def drop(self, wire):
        self._due.pop(wire, None)

    def wait(self, seconds):
        due = min((at for at, _ in self._due.values()), default=math.inf)
        assert math.isfinite(min(due, self.now + seconds)), "nothing will ever happen"
        if due > self.now + seconds:
            self.now += seconds
            return []
        self.now = max(due, self.now)
        done = [(wire, outcome) for wire, (at, outcome) in self._due.items() if at <= self.now]
        for wire, _ in done:
            del self._due[wire]
        return done


def driven(server, pace, begin=0.0, end=10.0, timeout=30.0):
    """The samples of one round, and the Drive."""
    told = []
    drive = Drive(pace, server, server.clock, Window(begin, end, timeout), lambda: told.append(server.now))
    drive.run()
    ledger = drive.ledger
    arrays = [np.array(each) for each in (ledger.intended, ledger.sent, ledger.done)]
    return cut(*arrays, np.array(ledger.outcomes, np.int16), begin, end), drive


STALL = (5.0, 6.0)


def test_the_p99_of_an_open_loop_sees_a_stall_though_one_connection_was_all_that_waited():
    found, _ = driven(Server(1, STALL), Open(poisson(100, 10, seed=7).tolist()))
    assert percentile(found.milliseconds(), 99) > 800
    assert percentile(found.from_sending(), 99) < 2, "the figure that coordinated omission makes pretty"


def test_the_p99_of_a_closed_loop_does_not_and_that_is_why_there_is_an_open_one():
    found, _ = driven(Server(1, STALL), Closed(0.0, 10.0))
    assert percentile(found.milliseconds(), 99) < 2
    assert found.milliseconds()[-1] > 999


def test_many_connections_send_on_while_the_server_stalls():
    server = Server(200, STALL)
    found, _ = driven(server, Open(poisson(100, 10, seed=7).tolist()))
    assert 80 < server.most < 130
    assert percentile(found.lag(), 99) == 0.0
    assert percentile(found.milliseconds(), 99) > 800


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 3000), st.integers(1, 20), st.floats(0.5, 4), st.integers(0, 99))
def test_every_arrival_is_settled_once_whatever_the_server_manages(rate, capacity, timeout, seed):
    times = poisson(rate, 1.0, seed).tolist()
    found, drive = driven(Server(capacity), Open(times), end=1.0, timeout=timeout)
    assert sorted(found.intended.tolist()) == times
    assert (found.done >= found.intended).all()
    assert len(found.milliseconds()) == len(times), "nobody is left out of the latencies"
    assert drive.stopped is None


@given(st.integers(1, 50))
def test_a_closed_loop_keeps_exactly_its_number_under_way(concurrency):
    server = Server(concurrency)
    found, _ = driven(server, Closed(0.0, 0.5), end=0.5)
    assert server.most == concurrency
    assert abs(found.throughput() - 1000) <= 2 * concurrency + 4


def test_a_count_of_requests_is_kept_exactly_and_the_warm_up_comes_on_top():
    found, drive = driven(Server(3), Closed(0.1, 0.1, count=40), begin=0.1, end=math.inf)
    assert (np.array(drive.ledger.intended) >= 0.1).sum() == 40
    assert len(drive.ledger.intended) > 40


def test_an_answer_that_takes_too_long_is_a_timeout_with_the_time_that_it_took():
    found, _ = driven(Server(1, (0.5, 100.0)), Closed(0.0, 1.0), end=1.0, timeout=2.0)
    assert list(found.failures()) == ["timed out"]
    assert found.milliseconds()[-1] == 2000.0


def test_what_was_never_sent_counts_with_the_time_that_it_waited():
    found, _ = driven(Server(1, (0.0, 1000.0)), Open([0.0, 0.25, 0.5]), end=1.0, timeout=10.0)
    assert found.failures() == {"not answered by the end": 2, "timed out": 1}
    assert found.milliseconds().tolist() == [10_000.0, 10_500.0, 10_750.0]
    assert np.isnan(found.sent).sum() == 1


def test_the_round_ends_when_the_server_takes_no_connection_and_keeps_what_was_measured():
    server = Server(4, fails=lambda number: Failure.REFUSED if number >= 100 else 200)
    found, drive = driven(server, Closed(0.0, 10.0))
    assert drive.stopped == "the server takes no more connections"
    assert found.answered.sum() == 100 and server.now < 1


def test_errors_go_by_kind_and_do_not_end_a_round():
    found, _ = driven(Server(2, fails=lambda number: 503 if number % 4 == 0 else 200), Closed(0.0, 0.4), end=0.4)
    (kind, count), *others = found.failures().items()
    assert kind == "status 503" and others == [] and abs(count / len(found.outcomes) - 0.25) < 0.01
    assert len(found.milliseconds()) == len(found.outcomes) - count


def test_the_measured_part_is_told_once_at_its_begin():
    told = []
    server = Server(1)
    Drive(Open([0.0, 3.0]), server, server.clock, Window(1.0, 4.0, 5.0), lambda: told.append(server.now)).run()
    assert told == [1.0]
