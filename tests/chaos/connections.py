"""Clients that are slow, vanish, send no more, send too early, or are many."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tests.chaos.clients import PATIENCE, Connection, connect, request
from tests.chaos.stage import Scenario, Stage, descriptors, open_rows, resident
from tests.e2e.servers import Server

_LEAST = 300
_SLOW = 200
_MANY = 2000
#: Seconds for headers and bodies in these scenarios, and how much later the server may notice.
_LIMIT, _LATE = 2.0, 3.0
_LIMITS = ("--headers-timeout", str(_LIMIT), "--body-timeout", str(_LIMIT))
_GROWTH = 64 << 20

#: A tenth of a second for each batch, and five megabytes for who asks for much.
SLOW = """
import time

def handle(data, context):
    if data:
        time.sleep(0.1)
    rows = [bytes(row["body"]) for row in data or ()]
    return [row + b" " * (5_000_000 if b"much" in row else 0) for row in rows]
"""


def slow_headers(stage: Stage) -> None:
    _drip(stage, b"POST /predictions/m HTTP/1.1\r\nHost: t\r\n", b"X-Drip: 1\r\n")


def slow_bodies(stage: Stage) -> None:
    _drip(stage, b"POST /predictions/m HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n", b"x")


def _drip(stage: Stage, first: bytes, drop: bytes) -> None:
    """Clients that send a little now and then are told 408 in time; the others notice nothing."""
    with stage.serve(SLOW, *_LIMITS) as server, stage.load(server):
        stage.answers(_LEAST // 10)
        ends = stage.clients.run(_all_drip(server.url, first, drop))
        stage.answers(_LEAST // 10)
        stage.expect(all(told == b"408" for told, _ in ends), f"not all were told 408: {ends[:3]}")
        latest = max(seconds for _, seconds in ends)
        stage.expect(latest < _LIMIT + _LATE, f"a slow client was waited for {latest:.1f} s")
        stage.notes.append(f"{len(ends)} slow clients told 408 within {latest:.1f} s")
    stage.only("200")


async def _all_drip(url: str, first: bytes, drop: bytes) -> list[tuple[bytes, float]]:
    return await asyncio.gather(*(_one_drips(url, first, drop) for _ in range(_SLOW)))


async def _one_drips(url: str, first: bytes, drop: bytes) -> tuple[bytes, float]:
    """The status it got in the end, and after how many seconds."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(*_host(url))
    writer.write(first)
    answer = asyncio.ensure_future(reader.read(12))
    while not answer.done() and time.monotonic() - started < PATIENCE:
        writer.write(drop)
        await asyncio.wait({answer}, timeout=0.25)
    with suppress(OSError):
        told = (await answer)[9:12]
        writer.transport.abort()
        return told, time.monotonic() - started
    return b"reset", time.monotonic() - started


def vanishing_in_the_request(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        stage.answers(_LEAST)
        before = descriptors(server.process.pid)
        for cut in (20, 60, -1):
            stage.clients.run(_cut_off(server.url, cut))
        stage.until(lambda: descriptors(server.process.pid) <= before + 2, "the descriptors of who vanished")
        stage.answers(_LEAST)
    stage.only("200")


async def _cut_off(url: str, cut: int) -> None:
    for _ in range(_SLOW):
        _, writer = await asyncio.open_connection(*_host(url))
        writer.write(request(0, "never")[:cut])
        await writer.drain()
        writer.transport.abort()


def vanishing_in_the_response(stage: Stage) -> None:
    with stage.serve(SLOW) as server, stage.load(server, 4):
        stage.answers(10)
        before, memory = descriptors(server.process.pid), resident(server.process.pid)
        for reads in (False, True):
            stage.clients.run(_leave(stage, server, reads=reads))
        stage.until(lambda: open_rows(server) <= 4, "nobody to be waited for but the load")
        stage.until(lambda: descriptors(server.process.pid) <= before + 2, "the descriptors of who vanished")
        grown = resident(server.process.pid) - memory
        stage.expect(grown < _GROWTH, f"the front end kept {grown / 1e6:.0f} MB of answers for nobody")
        stage.answers(10)
    stage.only("200", "left")


async def _leave(stage: Stage, server: Server, *, reads: bool) -> None:
    """Some ask for much and hang up: before the answer, or in the middle of it."""
    connections = [await connect(server.url, stage.ledger) for _ in range(20)]
    for connection in connections:
        connection.ask("much")
    for connection in connections:
        if reads:
            await asyncio.wait_for(connection.begun, PATIENCE)
        connection.leave()


def half_closed(stage: Stage) -> None:
    with stage.serve(SLOW) as server, stage.load(server, 4):
        answered = stage.clients.run(_half_close(stage, server))
        stage.expect(answered == [3] * 50, f"not every half-closed connection had its 3 answers: {answered}")
    stage.only("200")


async def _half_close(stage: Stage, server: Server) -> list[int]:
    """How many answers each of 50 clients got that say at once that they send no more."""
    connections = [await connect(server.url, stage.ledger) for _ in range(50)]
    asked = [[connection.ask() for _ in range(3)] for connection in connections]
    for connection in connections:
        connection.send_no_more()
    replies = [[await answer for answer in answers] for answers in asked]
    for connection in connections:
        await asyncio.wait_for(connection.closed, PATIENCE)
    return [sum(reply is not None for reply in each) for each in replies]


def pipelined(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server, 4):
        orders = stage.clients.run(_pipeline(stage, server))
        stage.expect(all(orders), "answers came out of order")
    stage.only("200")


async def _pipeline(stage: Stage, server: Server) -> list[bool]:
    """Whether each client's 200 answers came in order; every other request takes uvicorn's way."""
    connections = [await connect(server.url, stage.ledger) for _ in range(50)]
    asked = [
        [connection.ask("", *(("Expect: nothing",) if each % 2 else ())) for each in range(200)]
        for connection in connections
    ]
    found = [[(await answer) for answer in answers] for answers in asked]
    for connection in connections:
        connection.hang_up()
    numbers = [[reply.number or 0 for reply in each if reply] for each in found]
    return [each == sorted(each) and len(each) == 200 for each in numbers]


def many_connections(stage: Stage) -> None:
    with stage.serve() as server:
        before = resident(server.process.pid)
        stage.clients.run(_keep_alive(stage, server))
        grown = resident(server.process.pid) - before
        stage.notes.append(f"front end grew by {grown / 1e6:.1f} MB")
        stage.expect(grown < _GROWTH, f"the front end grew by {grown / 1e6:.0f} MB")
        stage.until(lambda: descriptors(server.process.pid) < 100, "the descriptors of 2000 connections")
    stage.only("200")
    stage.expect(stage.ledger.statuses["200"] == 3 * _MANY, "not three answers for each connection")


async def _keep_alive(stage: Stage, server: Server) -> None:
    connections: list[Connection] = []
    for _ in range(_MANY // 100):
        connections += await asyncio.gather(*(connect(server.url, stage.ledger) for _ in range(100)))
    for _ in range(3):
        await asyncio.gather(*(connection.answer_to() for connection in connections))
    for connection in connections:
        connection.hang_up()


def _host(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


SCENARIOS = (
    Scenario("200 clients send headers slowly", slow_headers),
    Scenario("200 clients send bodies slowly", slow_bodies),
    Scenario("600 clients vanish in their request", vanishing_in_the_request),
    Scenario("40 clients vanish in their response", vanishing_in_the_response),
    Scenario("50 half-closed connections, 3 requests each", half_closed),
    Scenario("50 connections with 200 requests pipelined", pipelined),
    Scenario("2000 keep-alive connections", many_connections),
)
