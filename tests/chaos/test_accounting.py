"""Books that cannot see a lost or a doubled answer would find none: servers here that lose and double."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.chaos.clients import Connection, connect
from tests.chaos.ledger import Ledger
from tests.runner.loops import in_loop

Answer = Callable[[int], bytes]


def ok(number: int, body: int | None = None, status: str = "200 OK", more: str = "") -> bytes:
    text = str(number if body is None else body)
    return f"HTTP/1.1 {status}\r\nX-Request-Id: {number}\r\n{more}Content-Length: {len(text)}\r\n\r\n{text}".encode()


async def asked(answer: Answer, count: int = 3) -> Ledger:
    """The books after so many requests to a server that writes this for each; nothing means that it hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            while (line := await reader.readline()) != b"\r\n":
                head = line if line.lower().startswith(b"x-request-id") else head
            number = int(head.split()[1])
            await reader.readexactly(len(str(number)))
            writer.write(answer(number))
            if not answer(number):
                break
        writer.close()

    ledger = Ledger()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection: Connection = await connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ledger)
    for _ in range(count):
        if connection.is_open:
            await connection.answer_to()
    connection.hang_up()
    await connection.closed
    server.close()
    return ledger


@in_loop
async def test_each_answer_ends_its_own_request() -> None:
    ledger = await asked(ok)
    assert (ledger.sent, ledger.answers, ledger.lost, ledger.doubled, ledger.waiting) == (3, 3, 0, 0, 0)


@in_loop
async def test_an_answer_that_does_not_come_is_lost() -> None:
    ledger = await asked(lambda number: b"" if number == 2 else ok(number))
    assert (ledger.answers, ledger.lost) == (1, 1)
    assert ledger.stories == ["no answer to request 2: connection lost: closed by the server"]


@in_loop
async def test_an_answer_that_comes_twice_is_doubled() -> None:
    assert (await asked(lambda number: ok(number) + ok(number))).doubled >= 2


@in_loop
async def test_another_requests_answer_is_doubled_there_and_lost_here() -> None:
    ledger = await asked(lambda _: ok(1))
    ledger.close()
    assert (ledger.answers, ledger.doubled, ledger.lost) == (1, 2, 2)


@in_loop
async def test_an_answer_with_another_requests_body_counts_for_nobody() -> None:
    ledger = await asked(lambda number: ok(number, body=number + 1), count=1)
    assert (ledger.answers, ledger.doubled) == (0, 1)


@in_loop
async def test_interim_answers_are_none() -> None:
    ledger = await asked(lambda number: b"HTTP/1.1 100 Continue\r\n\r\n" + ok(number))
    assert (ledger.answers, ledger.doubled) == (3, 0)


@in_loop
async def test_a_503_that_does_not_say_when_to_come_again_is_noted() -> None:
    assert (await asked(lambda n: ok(n, status="503 Full"))).without_retry_after == 3
    assert (await asked(lambda n: ok(n, status="503 Full", more="Retry-After: 1\r\n"))).without_retry_after == 0


@pytest.mark.parametrize(("told_at", "ending"), [(1.0, "refused"), (3.0, "lost")])
def test_only_what_is_sent_after_the_server_was_told_to_stop_may_be_refused(told_at: float, ending: str) -> None:
    ledger = Ledger()
    number = ledger.ask(now=2.0)
    ledger.ends_at(told_at)
    ledger.unanswered(number, "closed")
    assert (ledger.statuses["refused"], ledger.lost) == ((1, 0) if ending == "refused" else (0, 1))
