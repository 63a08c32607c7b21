"""Slow clients, too many of them, and those that send no more. Time is what the test says it is."""

from __future__ import annotations

import asyncio

from runner.frontend.patience import Patience, Room, room_for_connections
from tests.runner.frontend.connections import Connection, body_of, post
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker

FORM = post(b"k=v", b"Content-Type: application/x-www-form-urlencoded")
SHORT = Patience(headers=10, body=20)


def wait(connection: Connection, *seconds: float) -> None:
    """The moments at which the server looks."""
    for now in seconds:
        connection.protocol.look(now)


@in_loop
async def test_headers_that_do_not_end_are_408_and_the_connection_is_closed() -> None:
    connection = Connection(patience=SHORT)
    connection.send(b"POST /predictions/m HTTP/1.1\r\nHost")
    wait(connection, 1, 10.9)
    assert not connection.closed
    connection.send(b": t\r\nX-Slow: 1\r\n")
    wait(connection, 11.1)
    response = await connection.receive()
    assert response.startswith(b"HTTP/1.1 408 ") and b"(--headers-timeout)" in response
    assert connection.closed


@in_loop
async def test_a_body_that_does_not_end_is_408_on_both_ways() -> None:
    for request in (post(b"hello"), FORM):
        connection = Connection(patience=SHORT)
        connection.send(request[:-2])
        wait(connection, 1, 21.1)
        response = await connection.receive()
        assert response.startswith(b"HTTP/1.1 408 ") and b"(--body-timeout)" in response
        assert connection.closed
        await asyncio.sleep(0)
        assert not connection.deployment.model.batcher.open


@in_loop
async def test_a_body_earns_a_second_with_each_kilobyte() -> None:
    connection = Connection(patience=SHORT, limit=100_000)
    request = post(b"x" * 10_000)
    connection.send(request[:100])
    wait(connection, 1)
    connection.send(request[100:5100])
    wait(connection, 25.9)
    assert not connection.closed
    wait(connection, 26.1)
    assert connection.closed


@in_loop
async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    connection = Connection(patience=SHORT)
    wait(connection, 1, 11.1)
    assert connection.closed
    assert await connection.receive(0) == b""


@in_loop
async def test_who_waits_for_an_answer_is_not_slow() -> None:
    connection = Connection(None, patience=SHORT)
    worker = Worker(connection.deployment.model)
    connection.send(post())
    wait(connection, 1, 1000)
    connection.send(b"POST /predictions/m HTTP/1.1\r\n")
    wait(connection, 1001, 2000)
    (run,) = await worker.next_batches()
    worker.reply(run)
    assert body_of(await connection.receive()) == b"ok"
    assert not connection.closed


@in_loop
async def test_each_request_has_its_own_time() -> None:
    connection = Connection(patience=SHORT)
    for number in range(1, 5):
        connection.send(post()[:-1])
        wait(connection, number * 15)
        connection.send(b"x")
        await connection.receive(number)
    assert not connection.closed


@in_loop
async def test_an_early_answer_is_not_followed_by_another_when_the_body_stays_away() -> None:
    connection = Connection(patience=SHORT)
    connection.send(FORM.replace(b"/predictions/m", b"/predictions/x")[:-1])
    assert (await connection.receive()).startswith(b"HTTP/1.1 404 ")
    wait(connection, 1, 21.1)
    assert connection.closed
    assert (await connection.receive()).count(b"HTTP/1.1 ") == 1


@in_loop
async def test_an_answer_that_nobody_takes_is_dropped() -> None:
    connection = Connection()
    connection.send(post())
    await connection.receive()
    connection._socket.unread = 1000
    wait(connection, 1)
    connection._socket.unread = 900
    wait(connection, 60, 119)
    assert not connection.closed
    wait(connection, 121)
    assert connection.closed


@in_loop
async def test_whom_there_is_no_room_for_is_told_so() -> None:
    for request in (post(), FORM, b"GET /ping HTTP/1.1\r\nHost: t\r\n\r\n"):
        connection = Connection(room=Room(served=0, told=1))
        connection.send(request + request)
        response = await connection.receive()
        assert response.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in response and b"connection: close\r\n" in response
        assert b"x-request-id: " in response
        assert connection.closed
        assert response.count(b"HTTP/1.1 ") == 1


@in_loop
async def test_who_comes_beyond_that_is_not_served_at_all() -> None:
    assert Connection(room=Room(served=0, told=0)).closed


def test_clients_get_no_descriptor_that_workers_need() -> None:
    room = room_for_connections()
    assert room.served > 0 and room.told > 0
    assert room.divided(3) == Room(room.served // 3, room.told // 3)


@in_loop
async def test_who_has_closed_its_half_still_gets_every_answer_and_then_the_end() -> None:
    for requests in (post(b"1"), FORM, post(b"1") + FORM + post(b"3")):
        connection = Connection()
        connection.send(requests)
        assert connection.protocol.eof_received()
        count = requests.count(b"HTTP/1.1")
        while not connection.closed:
            await asyncio.sleep(0)
        response = await connection.receive(0)
        assert response.count(b"HTTP/1.1 200 ") == count


@in_loop
async def test_who_has_closed_its_half_is_sent_an_interim_answer_to_find_out_whether_it_is_there() -> None:
    connection = Connection(None)
    connection.send(post())
    assert connection.protocol.eof_received()
    assert (await connection.receive()) == b"HTTP/1.1 100 Continue\r\n\r\n"


@in_loop
async def test_who_has_closed_its_half_in_the_middle_of_a_request_is_gone() -> None:
    connection = Connection()
    connection.send(post(b"hello")[:-1])
    assert not connection.protocol.eof_received()


@in_loop
async def test_a_request_that_is_on_its_way_when_the_server_stops_is_answered() -> None:
    for request in (post(), FORM):
        connection = Connection()
        connection.protocol.shutdown()
        assert not connection.closed
        connection.send(request)
        assert b"connection: close\r\n" in await connection.receive()
        assert connection.closed


@in_loop
async def test_the_request_under_way_when_the_server_stops_is_the_last_one() -> None:
    connection = Connection(None)
    worker = Worker(connection.deployment.model)
    connection.send(post())
    connection.protocol.shutdown()
    (run,) = await worker.next_batches()
    worker.reply(run)
    assert b"connection: close\r\n" in await connection.receive()
    assert connection.closed


@in_loop
async def test_an_idle_connection_ends_soon_after_the_server_stops() -> None:
    connection = Connection()
    connection.protocol.shutdown()
    while not connection.closed:
        await asyncio.sleep(0.01)
