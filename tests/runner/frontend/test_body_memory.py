"""Bodies that are large together: who finds no room is told so, and what is held is given back."""

from __future__ import annotations

import asyncio

from tests.runner.frontend.connections import Connection, post
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker

LARGE = 100_000
PLAIN = post(b"x" * LARGE)
FORM = post(b"k=" + b"v" * (LARGE - 2), b"Content-Type: application/x-www-form-urlencoded")
INFER = post(b"x" * LARGE, path=b"/v2/models/m/infer")


def filled() -> Connection:
    """A connection to a server whose memory for bodies has room for half a large one."""
    connection = Connection(None, limit=LARGE)
    memory = connection.protocol.predictions.memory
    memory.held = memory.limit - LARGE // 2
    return connection


@in_loop
async def test_a_body_for_which_there_is_no_room_is_503_on_every_way() -> None:
    for request in (PLAIN, FORM, INFER):
        connection = filled()
        before = connection.protocol.predictions.memory.held
        connection.send(request)
        response = await connection.receive()
        assert response.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1\r\n" in response
        assert b"leave no memory" in response and b"x-request-id: " in response
        await asyncio.sleep(0)
        assert connection.protocol.predictions.memory.held == before


@in_loop
async def test_small_bodies_need_no_room() -> None:
    connection = filled()
    worker = Worker(connection.deployment.model)
    connection.send(post(b"x" * 1000))
    (run,) = await worker.next_batches()
    worker.reply(run)
    assert (await connection.receive()).startswith(b"HTTP/1.1 200 ")


@in_loop
async def test_a_large_body_is_held_until_its_answer() -> None:
    for request in (PLAIN, FORM):
        connection = Connection(None, limit=LARGE)
        worker = Worker(connection.deployment.model)
        connection.send(request)
        (run,) = await worker.next_batches()
        assert connection.protocol.predictions.memory.held == LARGE
        worker.reply(run)
        await connection.receive()
        await asyncio.sleep(0)
        assert connection.protocol.predictions.memory.held == 0


@in_loop
async def test_a_client_that_hangs_up_gives_its_room_back() -> None:
    for request in (PLAIN, FORM, PLAIN[:-1], FORM[:-1]):
        connection = Connection(None, limit=LARGE)
        connection.send(request)
        await asyncio.sleep(0)
        connection.hang_up()
        while connection.protocol.predictions.memory.held:
            await asyncio.sleep(0.01)


@in_loop
async def test_an_idle_connection_holds_no_body() -> None:
    connection = Connection(limit=LARGE)
    connection.send(PLAIN)
    await connection.receive()
    assert connection.protocol._in_lane is not None
    assert connection.protocol._in_lane._body == []
