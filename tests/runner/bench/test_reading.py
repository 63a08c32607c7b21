"""Bytes of a connection → statuses."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.bench.reading import Malformed, Reader

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
CAPITALS = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\ncontent-length: 0\r\n\r\n"
CLOSING = b"HTTP/1.1 400 Bad\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
ANSWERS = {PLAIN: 200, CAPITALS: 503, CHUNKED: 200, CONTINUED: 201, CLOSING: 400}


@given(st.sampled_from(list(ANSWERS)), st.lists(st.integers(1, 100), max_size=6))
def test_an_answer_in_any_pieces_has_its_status_with_the_last_byte_and_not_before(answer, cuts):
    places = sorted({cut % len(answer) for cut in cuts} - {0})
    pieces = [answer[a:b] for a, b in zip([0, *places], [*places, len(answer)], strict=True)]
    reader = Reader()
    assert [reader.feed(piece) for piece in pieces] == [None] * len(places) + [ANSWERS[answer]]


def test_answers_follow_each_other_on_one_connection():
    reader = Reader()
    assert [reader.feed(answer) for answer in (PLAIN, CHUNKED, CAPITALS, PLAIN)] == [200, 200, 503, 200]
    assert reader.keeps_alive


@pytest.mark.parametrize("answer", [CLOSING, b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"])
def test_the_server_says_that_it_will_close(answer):
    reader = Reader()
    assert reader.feed(answer) is not None
    assert not reader.keeps_alive


def test_an_answer_without_a_length_ends_with_the_connection():
    reader = Reader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nsome") is None
    assert reader.end() == 200


def test_a_connection_that_ends_too_early_has_no_status():
    reader = Reader()
    assert reader.end() is None
    assert reader.feed(PLAIN[:-1]) is None
    assert reader.end() is None


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello"])
def test_what_is_no_http_is_malformed(data):
    with pytest.raises(Malformed):
        Reader().feed(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_incomplete_or_malformed(data):
    with suppress(Malformed):
        assert Reader().feed(data) is None or data.startswith(b"HTTP/")
