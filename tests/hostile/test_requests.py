"""Requests in shapes that two readers understand differently, or that are to cost more than they weigh.

Each goes through the real protocol byte by byte. What the model sees is counted: a smuggled request is one too many.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runner import wire
from runner.frontend.bodies import MOST_FIELDS
from runner.frontend.heads import LARGEST_HEAD, MOST_HEADERS
from tests.runner.frontend.connections import Connection, body_of, post
from tests.runner.loops import in_loop

_POST = b"POST /predictions/m HTTP/1.1\r\nHost: t\r\n"
_SECOND = b"POST /predictions/m HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\nsmuggled"
_CHUNKED = b"1\r\nx\r\n0\r\n\r\n"

#: Heads and bodies of one request that a proxy in front of us may end elsewhere than we do.
SMUGGLING = {
    "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "two lengths that agree": b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "a list of lengths": b"Content-Length: 1, 1\r\n\r\nx",
    "a signed length": b"Content-Length: +1\r\n\r\nx",
    "a negative length": b"Content-Length: -1\r\n\r\nx",
    "a length in hex": b"Content-Length: 0x1\r\n\r\nx",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551617\r\n\r\nx",
    "a length and chunks": b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED,
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n" + _CHUNKED,
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + _CHUNKED,
    "a coding twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n" + _CHUNKED,
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n" + _CHUNKED,
    "a compressed coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n" + _CHUNKED,
    "chunked, but not last": b"Transfer-Encoding: chunked, gzip\r\n\r\n" + _CHUNKED,
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n" + _CHUNKED,
    "a vertical tab before the value": b"Transfer-Encoding:\x0bchunked\r\n\r\n" + _CHUNKED,
    "a folded line": b"X-A: 1\r\n Content-Length: 9\r\nContent-Length: 1\r\n\r\nx",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + _CHUNKED,
    "a bare line feed": b"X-A: 1\nContent-Length: 1\r\n\r\nx",
    "a bare carriage return": b"X-A: 1\rContent-Length: 1\r\n\r\nx",
    "a zero byte": b"X-A: a\0b\r\nContent-Length: 1\r\n\r\nx",
    "a header without a colon": b"Nonsense\r\nContent-Length: 1\r\n\r\nx",
    "a header that begins with a space": b" X-A: b\r\nContent-Length: 1\r\n\r\nx",
    "a chunk beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a chunk with a prefix": b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "chunks that end in line feeds": b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
    "a chunk longer than it says": b"Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
    "a body beside an upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx",
}


class Model:
    """Counts what reaches it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, row: wire.Row) -> wire.Reply:
        self.bodies.append(row.params[0][2])
        return wire.Reply(200, "", "text/plain", [], b"ok")


async def _conversation(*pieces: bytes, answers: int = 1, **options: int) -> tuple[bytes, Model, Connection]:
    model = Model()
    connection = Connection(model, **options)  # type: ignore[arg-type]  # a limit is a number
    for piece in pieces:
        if not connection.closed:
            connection.send(piece)
    return await connection.receive(answers), model, connection


def _looped(test: Callable[..., object], *arguments: bytes | str) -> None:
    in_loop(lambda: test(*arguments))()  # type: ignore[arg-type,return-value]  # a coroutine function


@pytest.mark.parametrize("rest", SMUGGLING.values(), ids=SMUGGLING)
@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_what_two_readers_may_end_differently_is_400_and_the_end_of_the_connection(rest: bytes, step: int) -> None:
    async def converse() -> None:
        data = _POST + rest + _SECOND
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        response, model, connection = await _conversation(*pieces)
        assert response.startswith(b"HTTP/1.1 400 ") and response.count(b"HTTP/1.1 ") == 1
        assert b'"BadRequestException"' in response and b"x-request-id: " in response
        assert connection.closed
        assert b"smuggled" not in model.bodies

    _looped(converse)


@in_loop
async def test_the_same_of_a_whole_request_in_line_feeds() -> None:
    data = post(b"x").replace(b"\r\n", b"\n")
    response, model, connection = await _conversation(data)
    assert response.startswith(b"HTTP/1.1 400 ") and connection.closed and not model.bodies


@in_loop
async def test_a_refusal_is_not_sent_in_place_of_an_earlier_answer() -> None:
    """Of two pipelined requests the second is broken: its 400 would be read as the answer to the first."""
    connection = Connection(None)
    connection.send(post(b"first") + _POST + SMUGGLING["a length and chunks"])
    assert connection.closed and not connection.written


@in_loop
async def test_a_length_with_many_zeros_is_that_length() -> None:
    response, model, _ = await _conversation(_POST + b"Content-Length: " + b"0" * 5000 + b"1\r\n\r\nx")
    assert response.startswith(b"HTTP/1.1 200 ") and model.bodies == [b"x"]


@in_loop
async def test_trailers_are_no_headers() -> None:
    chunks = b"1\r\nx\r\n0\r\nX-Request-Id: evil\r\nAuthorization: Bearer evil\r\n\r\n"
    response, model, _ = await _conversation(_POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert response.startswith(b"HTTP/1.1 200 ") and model.bodies == [b"x"]
    assert b"evil" not in response


@pytest.mark.parametrize(
    "head",
    [
        _POST + b"".join(b"X-%d: y\r\n" % number for number in range(MOST_HEADERS)),
        _POST + b"X-A: " + b"a" * LARGEST_HEAD + b"\r\n",
        b"POST /predictions/" + b"a" * LARGEST_HEAD + b" HTTP/1.1\r\nHost: t\r\n",
    ],
    ids=["headers", "a header", "a path"],
)
@pytest.mark.parametrize("step", [999, 1 << 20])
def test_a_head_beyond_the_limits_is_431(head: bytes, step: int) -> None:
    async def converse() -> None:
        data = head + b"Content-Length: 1\r\n\r\nx"
        response, model, connection = await _conversation(*[data[at : at + step] for at in range(0, len(data), step)])
        assert response.startswith(b"HTTP/1.1 431 ") and connection.closed and not model.bodies

    _looped(converse)


@in_loop
async def test_an_endless_head_is_not_kept() -> None:
    connection = Connection()
    connection.send(_POST + b"X-A: ")
    sent = 0
    while not connection.closed:
        connection.send(b"a" * 4096)
        sent += 4096
    assert sent <= LARGEST_HEAD + 4096
    assert (await connection.receive()).startswith(b"HTTP/1.1 431 ")


@in_loop
async def test_a_large_body_does_not_count_as_head() -> None:
    first, second = post(b"x" * (LARGEST_HEAD + 1)), post(b"y")
    cut = len(first) + 5
    data = first + second
    _, model, connection = await _conversation(data[:cut], data[cut:], answers=2, limit=1 << 20)
    assert [len(body) for body in model.bodies] == [LARGEST_HEAD + 1, 1] and not connection.closed


@in_loop
async def test_a_form_that_is_announced_too_large_is_413_before_a_byte_of_it() -> None:
    form = b"Content-Type: multipart/form-data; boundary=b\r\n"
    response, model, _ = await _conversation(_POST + form + b"Content-Length: 9999999999999\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 413 ") and not model.bodies


@in_loop
async def test_chunks_beyond_the_limit_are_413() -> None:
    chunks = b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n"
    response, model, connection = await _conversation(_POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"x")
    assert response.startswith(b"HTTP/1.1 413 ") and b"connection: close" in response and not model.bodies


@in_loop
async def test_a_compressed_body_reaches_the_handler_as_it_came() -> None:
    """Nothing is unpacked before a handler asks for it, so no bomb goes off."""
    bomb = b"\x1f\x8b\x08\0bomb"
    response, model, _ = await _conversation(post(bomb, b"Content-Encoding: gzip"))
    assert response.startswith(b"HTTP/1.1 200 ") and model.bodies == [bomb]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize("more", [0, 1])
def test_a_form_has_a_thousand_fields_at_most(kind: str, more: int) -> None:
    async def converse() -> None:
        count = MOST_FIELDS + more
        part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
        body = part * count + b"--b--\r\n" if "multipart" in kind else b"&".join([b"a=x"] * count)
        data = post(body, b"Content-Type: " + kind.encode())
        response, _, _ = await _conversation(data, limit=1 << 20)
        assert response.startswith(b"HTTP/1.1 400 " if more else b"HTTP/1.1 200 ")

    _looped(converse)


@in_loop
async def test_what_asks_for_another_protocol_is_answered_in_this_one_and_nothing_after_it() -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    connection = Connection()
    connection.send(request + _SECOND)
    response = await connection.receive()
    assert response.startswith(b"HTTP/1.1 200 ") and response.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in body_of(response)
