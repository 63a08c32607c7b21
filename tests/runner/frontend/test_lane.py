"""Conversations with the HTTP protocol, byte by byte, without a socket."""

from __future__ import annotations

import asyncio

from runner import wire
from runner.frontend.exchange import UNREAD_LIMIT
from runner.frontend.lane import Lane
from tests.runner.frontend.connections import Connection, body_of, post
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker


@in_loop
async def test_a_plain_prediction_takes_the_lane_and_is_answered_in_one_piece() -> None:
    connection = Connection()
    connection.send(post(b"hello", b"Content-Type: text/plain", b"X-Request-Id: 7"))
    assert isinstance(connection.protocol.cycle, Lane)
    response = await connection.receive()
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"x-request-id: 7\r\n" in response
    assert body_of(response) == b"body|text/plain|hello"
    assert not connection.closed


@in_loop
async def test_a_body_may_come_in_pieces() -> None:
    connection = Connection()
    request = post(b"hello")
    for place in range(len(request)):
        connection.send(request[place : place + 1])
    assert body_of(await connection.receive()) == b"body||hello"


@in_loop
async def test_a_connection_serves_one_request_after_the_other() -> None:
    connection = Connection()
    for number in range(1, 4):
        connection.send(post(b"%d" % number))
        assert (await connection.receive(number)).endswith(b"body||%d" % number)


@in_loop
async def test_pipelined_requests_are_answered_in_order_whichever_way_they_take() -> None:
    connection = Connection()
    form = post(b"k=v", b"Content-Type: application/x-www-form-urlencoded")
    connection.send(post(b"1") + form + post(b"3"))
    response = await connection.receive(3)
    bodies = [body_of(part).decode() for part in response.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == ["body||1", "k||v", "body||3"]


@in_loop
async def test_forms_and_escaped_paths_take_uvicorns_way() -> None:
    for request in (
        post(b"k=v", b"Content-Type: Application/X-WWW-Form-Urlencoded"),
        post(b"x", path=b"/predictions/%6d"),
    ):
        connection = Connection()
        connection.send(request)
        assert not isinstance(connection.protocol.cycle, Lane)
        assert (await connection.receive()).startswith(b"HTTP/1.1 200 OK\r\n")


@in_loop
async def test_what_a_handler_sets_cannot_split_or_reframe_the_response() -> None:
    headers = [("X-A", "1\r\nX-Evil: 2"), ("bad name", "x"), ("Content-Length", "999"), ("X-É", "x"), ("X-B", "ü☃")]
    reply = wire.Reply(200, "", "text/plain\r\nX-Evil: 3", headers, b"ok")
    connection = Connection(lambda _: reply)
    connection.send(post())
    head = (await connection.receive()).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert b"x-a: 1  X-Evil: 2" in head
    assert not any(line.lower().startswith(b"x-evil") for line in head)
    assert [line for line in head if line.startswith(b"content-length")] == [b"content-length: 2"]
    assert "x-b: ü?".encode("latin-1") in head
    assert len(head) == len({line.partition(b":")[0] for line in head})


@in_loop
async def test_a_status_that_ends_no_request_is_500() -> None:
    connection = Connection(lambda _: wire.Reply(100, "", "", [], b""))
    connection.send(post())
    assert (await connection.receive()).startswith(b"HTTP/1.1 500 ")


@in_loop
async def test_connection_close_is_honoured_after_the_answer() -> None:
    connection = Connection()
    connection.send(post(b"x", b"Connection: close"))
    assert b"connection: close\r\n" in await connection.receive()
    assert connection.closed


@in_loop
async def test_a_body_beyond_the_limit_is_413_before_it_is_all_there() -> None:
    connection = Connection(limit=10)
    request = post(b"x" * 100)
    connection.send(request[:-50])
    assert (await connection.receive()).startswith(b"HTTP/1.1 413 ")
    assert not connection.closed  # under a client that is still sending, the answer would be lost
    connection.send(request[-50:])
    assert connection.closed
    assert (await connection.receive()).count(b"HTTP/1.1 ") == 1


@in_loop
async def test_a_client_that_hangs_up_withdraws_its_job_at_once() -> None:
    connection = Connection(None)
    connection.send(post())
    await asyncio.sleep(0)
    assert connection.deployment.model.batcher.open == 1
    connection.hang_up()
    await asyncio.sleep(0)
    assert connection.deployment.model.batcher.open == 0


@in_loop
async def test_an_answer_for_a_client_that_hung_up_goes_nowhere() -> None:
    connection = Connection(None)
    worker = Worker(connection.deployment.model)
    connection.send(post())
    while not (runs := worker.batches()):
        await asyncio.sleep(0)
    connection.hang_up()
    await asyncio.sleep(0)
    worker.reply(runs[0])
    assert connection.deployment.model.batcher.open == 0


@in_loop
async def test_unknown_models_and_full_queues_are_told_and_the_connection_lives_on() -> None:
    connection = Connection(None, jobQueueSize=1)
    connection.send(post(path=b"/predictions/other"))
    assert b'"ModelNotFoundException"' in await connection.receive()
    connection.deployment.model.submit(wire.Row("first", [], b""), connection)  # type: ignore[arg-type]  # never answered
    connection.send(post())
    response = await connection.receive(2)
    assert b'"QueueFullException"' in response
    assert b"retry-after: 1\r\n" in response
    assert not connection.closed


@in_loop
async def test_what_is_no_http_is_400() -> None:
    connection = Connection()
    connection.send(b"nonsense\r\n\r\n")
    assert (await connection.receive()).startswith(b"HTTP/1.1 400 ")
    assert connection.closed


@in_loop
async def test_an_idle_connection_is_closed_after_its_time() -> None:
    connection = Connection()
    connection.protocol.timeout_keep_alive = 0.01  # type: ignore[assignment]  # whole seconds on a real server
    connection.send(post())
    await connection.receive()
    while not connection.closed:
        await asyncio.sleep(0.001)


@in_loop
async def test_a_connection_that_waits_for_its_answer_is_not_idle() -> None:
    connection = Connection(None)
    connection.protocol.timeout_keep_alive = 0.01  # type: ignore[assignment]  # whole seconds on a real server
    worker = Worker(connection.deployment.model)
    connection.send(post(path=b"/predictions/other"))
    await connection.receive()
    connection.send(post())
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.05
    while loop.time() < until:
        await asyncio.sleep(0.001)
    assert not connection.closed
    worker.reply(worker.batches()[0])
    assert (await connection.receive(2)).endswith(b"ok")


async def begun(connection: Connection, head: wire.Reply) -> tuple[Worker, wire.Run]:
    """A worker that has sent the first piece of the connection's answer, and its batch."""
    worker = Worker(connection.deployment.model)
    connection.send(post())
    (run,) = await worker.next_batches()
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, head)]))
    return worker, run


@in_loop
async def test_pieces_are_chunks_and_an_empty_one_does_not_end_the_answer() -> None:
    connection = Connection(answer=None)
    worker, run = await begun(connection, wire.Reply(201, "", "text/plain", [], b"one"))
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, wire.Reply(200, "", "", [], b""))]))
    worker.reply(run, b"two")
    response = await connection.receive()
    assert response.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"transfer-encoding: chunked\r\n" in response and b"content-length" not in response
    assert body_of(response) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert not connection.closed


@in_loop
async def test_a_stream_whose_worker_fails_ends_without_its_last_chunk() -> None:
    connection = Connection(answer=None)
    worker, run = await begun(connection, wire.Reply(200, "", "text/plain", [], b"one"))
    worker.raise_(run)
    assert body_of(await connection.receive()) == b"3\r\none\r\n"
    assert connection.closed


@in_loop
async def test_a_pipelined_request_waits_for_the_stream_before_it() -> None:
    connection = Connection(answer=None)
    worker, run = await begun(connection, wire.Reply(200, "", "text/plain", [], b"one"))
    connection.send(post(b"next"))
    worker.reply(run, b"")
    (after,) = await worker.next_batches()
    worker.reply(after, b"second answer")
    assert (await connection.receive(2)).endswith(b"second answer")


@in_loop
async def test_a_stream_with_a_status_that_has_no_body_is_an_error() -> None:
    connection = Connection(answer=None)
    worker, run = await begun(connection, wire.Reply(204, "", "text/plain", [], b"one"))
    response = await connection.receive()
    assert response.startswith(b"HTTP/1.1 500 ") and b"status 204" in response
    worker.reply(run)
    assert (await connection.receive()).count(b"HTTP/1.1") == 1


@in_loop
async def test_a_client_that_hangs_up_during_a_stream_withdraws_it() -> None:
    connection = Connection(answer=None)
    await begun(connection, wire.Reply(200, "", "text/plain", [], b"one"))
    connection.hang_up()
    while connection.deployment.model.batcher.open:
        await asyncio.sleep(0)


@in_loop
async def test_a_client_that_lets_too_much_pile_up_is_cut_off() -> None:
    connection = Connection(answer=None)
    worker, run = await begun(connection, wire.Reply(200, "", "text/plain", [], b"one"))
    connection._socket.unread = UNREAD_LIMIT + 1
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, wire.Reply(200, "", "", [], b"two"))]))
    assert connection.closed
    assert not connection.deployment.model.batcher.open


@in_loop
async def test_what_follows_the_version_goes_with_a_plain_prediction_too() -> None:
    def path_of(row: wire.Row) -> wire.Reply:
        found = wire.unpack_headers(row.headers).get("url_path", "none")
        return wire.Reply(200, "", "text/plain", [], found.encode())

    connection = Connection(path_of)
    connection.send(post(b"x", path=b"/predictions/m/1.0/a/b"))
    assert isinstance(connection.protocol.cycle, Lane)
    assert body_of(await connection.receive()) == b"a/b"
