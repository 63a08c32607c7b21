"""What a reader should know."""

from __future__ import annotations

from runner.bench import notes
from tests.runner.bench.reports import Made, make_report

QUIET = {"processor": "CPU", "cores": 8, "loadAverage": 0.1}


def told(*levels, machine=QUIET, own_server=True, **fields):
    return list(notes.of(make_report(*levels, machine=machine, **fields), own_server))


def test_a_quiet_machine_and_a_plain_run_need_no_words():
    assert told() == []


def test_a_busy_machine_and_shared_cores_are_said():
    busy, shared = told(machine={"cores": 2, "loadAverage": 3.5})
    assert busy.startswith("the machine was busy before the start (load average 3.5 on 2 cores)")
    assert shared == "server, workers and generator share 2 cores"
    assert told(machine={"cores": 2, "loadAverage": 0.0}, own_server=False) == []


def test_near_its_ceiling_the_generator_is_what_was_measured():
    assert told(Made((190.0,)), ceiling={"16": 200.0}) == [
        "16 at a time: near the generator's own ceiling of 200/s; the server may be faster"
    ]


def test_failures_are_told_by_kind():
    assert told(Made((1.0, 1.0), failures=(("status 503", 5),))) == [
        "16 at a time: 10 of 2000 requests failed: status 503"
    ]


def test_workers_that_ended_and_came_back_are_told():
    assert told(Made((1.0, 1.0), restarts=1)) == [
        "16 at a time: 2 workers ended and came back while it was measured; the figures include that"
    ]


def test_a_server_that_tells_nothing_is_said():
    (only,) = told(Made((1.0,), server=False))
    assert only.startswith("the server tells nothing about itself on /metrics")


def test_more_than_the_model_alone_can_do_says_that_the_limit_was_disturbed():
    (note,) = told(Made((900.0,)))
    assert note == "16 at a time: above the limit, which was measured later: the machine was busier then"
