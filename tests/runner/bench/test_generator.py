"""The generator against real sockets."""

from __future__ import annotations

import io
import socket
import threading

import msgspec

from runner.bench import messages
from runner.bench.figures import percentile, samples
from runner.bench.generator import run
from runner.bench.messages import Began
from tests.runner.bench.servers import ANSWER, REQUEST, answering, round_at

STALL = 0.5


def measured(address, **fields):
    return samples(run(round_at(address, **fields), io.BytesIO()))


def test_a_stall_of_the_server_is_in_the_p99_of_an_open_loop():
    never = threading.Event()

    def answer(number):
        if number == 20:
            never.wait(STALL)
        return ANSWER

    with answering(answer) as address:
        found = measured(address, rate=200.0, duration=1.0)
    assert found.failures() == {}
    assert percentile(found.milliseconds(), 99) > STALL * 1000 * 0.8
    assert (found.done - found.sent > STALL).sum() == 1, "one request was on its way; the others had not been sent"


def test_so_many_requests_as_asked_for_are_answered_on_so_many_connections():
    with answering(lambda number: ANSWER) as address:
        found = measured(address, concurrency=5, connections=5, count=60)
    assert len(found.outcomes) == 60 and found.failures() == {}
    assert found.throughput() > 0


def test_a_count_of_requests_takes_as_long_as_it_takes():
    never = threading.Event()

    def answer(number):
        never.wait(0.02)
        return ANSWER

    with answering(answer) as address:
        found = measured(address, count=20, duration=0.01, timeout=0.2)
    assert len(found.outcomes) == 20 and found.seconds > 0.4


def test_requests_are_sent_in_turn_whatever_their_size():
    large = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n" + bytes(3_000_000)
    with answering(lambda number: ANSWER, size=len(large)) as address:
        found = measured(address, requests=[large], count=3)
    assert found.failures() == {} and len(found.outcomes) == 3


def test_a_connection_that_closes_early_is_an_error_and_the_next_request_gets_a_new_one():
    with answering(lambda number: None if number % 3 == 1 else ANSWER) as address:
        found = measured(address, count=30)
    assert found.failures() == {"connection closed before the answer was whole": 10}


def test_what_speaks_no_http_is_told_as_that():
    with answering(lambda number: b"220 mail.example.com ESMTP\r\n\r\n") as address:
        found = measured(address, count=3)
    assert found.failures() == {"no HTTP answer": 3}


def test_an_answer_that_does_not_come_is_a_timeout():
    with answering(lambda number: b"" if number == 0 else ANSWER) as address:
        found = measured(address, count=2, timeout=0.3)
    assert found.failures() == {"timed out": 1}


def test_refusals_are_counted_by_status_also_when_the_server_closes_after_them():
    refusal = b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    with answering(lambda number: refusal if number % 2 else ANSWER) as address:
        found = measured(address, count=20)
    assert found.failures() == {"status 503": 10}


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    ended = run(round_at(address), io.BytesIO())
    assert ended.stopped == "the server takes no more connections"
    assert samples(ended).failures() == {"connection refused": 1}


def test_the_begin_is_told_in_a_frame_between_warm_up_and_measuring():
    told = io.BytesIO()
    with answering(lambda number: ANSWER) as address:
        found = samples(run(round_at(address, warmup=0.1, duration=0.1), told))
    told.seek(0)
    assert msgspec.msgpack.decode(messages.read(told), type=Began) == Began()
    assert messages.read(told) is None
    assert found.intended[0] >= found.begin


def test_a_frame_that_is_cut_is_none():
    stream = io.BytesIO()
    messages.write(stream, round_at(("127.0.0.1", 1)))
    assert messages.read(io.BytesIO(stream.getvalue()[:-1])) is None
    assert REQUEST in (messages.read(io.BytesIO(stream.getvalue())) or b"")
