"""The short way of a prediction: from parsed HTTP to a submitted job without a task, back in one write.

uvicorn's way (a scope, a task, an ASGI callable, two sends) costs more than everything else that the front end does
for a small request. So a plain prediction (POST or PUT, HTTP/1.1, a body that is no form, nothing else under way on
its connection) is a `Lane`: it stands where uvicorn keeps a connection's current request, takes the body, and writes
the answer itself. Whatever is not plain takes uvicorn's way to the same `Predictions`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from runner import wire
from runner.frontend.bodies import headers_of, is_form, stream_headers
from runner.frontend.body_memory import SMALL, Hold, NoMemory
from runner.frontend.exchange import UNREAD_LIMIT
from runner.frontend.patience import BODY, HEADERS, WHOLE, PatientProtocol
from runner.frontend.predictions import PREFIX, Headers, Predictions
from runner.frontend.problems import Problem, problem
from runner.frontend.tokens import Tokens, authorization_of
from runner.frontend.transport import JoiningTransport
from runner.pieces import breaks
from runner.pool.deployment import Deployment
from runner.scheduling.job import Job

_PREFIX = PREFIX.encode()
_METHODS = (b"POST", b"PUT")
#: Seconds in which a client that was answered early may send the rest of its body.
_LINGER = 5


class Lane:
    """One plain prediction on its connection; the `Client` of its job.

    `response_started`, `response_complete`, `keep_alive`, `disconnected`, `message_event` and `more_body` are what
    uvicorn's protocol and ours read and set on a connection's current request.
    """

    __slots__ = (
        "_body",
        "_head",
        "_hold",
        "_job",
        "_protocol",
        "_size",
        "_target",
        "content_type",
        "headers",
        "keep_alive",
        "more_body",
        "request_id",
        "response_complete",
    )

    def __init__(self, protocol: LaneProtocol, headers: Headers, content_type: bytes, request_id: bytes) -> None:
        self.headers = headers
        self.content_type = content_type
        self.request_id = request_id
        self.keep_alive = protocol.parser.should_keep_alive() and not protocol.is_stopping
        self.more_body = True
        self.response_complete = False
        self._protocol = protocol
        self._body: list[bytes] = []
        self._size = 0
        self._hold: Hold | None = None
        self._job: Job | None = None
        self._head: wire.Reply | None = None
        self._target: Deployment | None = None

    @property
    def message_event(self) -> Lane:
        return self

    def set(self) -> None:
        """uvicorn wakes a waiting task here; a lane has none."""

    @property
    def disconnected(self) -> bool:
        return self.response_complete

    @disconnected.setter
    def disconnected(self, _: bool) -> None:
        self._end()
        self._withdraw()

    def _end(self) -> None:
        """Nothing more is to be answered here."""
        self.response_complete = True
        if self._hold is not None:
            self._hold.end()

    @property
    def response_started(self) -> bool:
        return self._head is not None or self.response_complete

    def _withdraw(self) -> None:
        if self._job is not None and self._target is not None:
            self._target.model.withdraw(self._job)
            self._job = None

    def still_waiting(self) -> None:
        """uvicorn tells us when the client leaves; there is nothing to look for."""

    def take(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        self._body.append(body)
        if self._size > self._protocol.small:
            self._take_much()

    def _take_much(self) -> None:
        """Whether there is room for as much as has come."""
        predictions = self._protocol.predictions
        if self._size > predictions.limit:
            self._refuse(problem("too-large", limit=predictions.limit))
            return
        if self._hold is None:
            self._hold = Hold(predictions.memory)
        try:
            self._hold.grow(self._size)
        except NoMemory:
            self._refuse(problem("no-memory"))

    def _refuse(self, answer: Problem) -> None:
        """Answer before the body is whole; what follows of it is not read."""
        self._body = []
        self.keep_alive = False
        self._answer(answer)

    def complete(self, path: str) -> None:
        """The body is there: submit the row, or say why not."""
        predictions = self._protocol.predictions
        # The lane stays with its connection until the next request; the body is the job's.
        parts, self._body = self._body, []
        target = predictions.find(path)
        if isinstance(target, Problem):
            self._answer(target)
            return
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        params = [("body", self.content_type.decode("latin-1"), body)]
        headers = self.headers + rest if (rest := predictions.rest(path)) else self.headers
        row = wire.Row(self.request_id.decode("latin-1"), params, wire.pack_headers(headers))
        job = predictions.submit(target, row, self)
        if isinstance(job, Problem):
            self._answer(job)
        else:
            self._job, self._target = job, target

    def piece(self, reply: wire.Reply) -> None:
        if self.response_complete or self._target is None:
            return
        if self._head is None and not self._begin(self._protocol.predictions.head(self._target, reply)):
            return
        if self._protocol.unread > UNREAD_LIMIT:
            self._withdraw()
            self._end()
            self._protocol.transport.abort()
        else:
            self._protocol.go_on(reply.body)

    def _begin(self, head: wire.Reply | Problem) -> bool:
        if isinstance(head, Problem):
            self._withdraw()
            self._answer(head)
            return False
        self._head = head
        self._protocol.predictions.count(head)
        self._protocol.begin(head, self.request_id, self.keep_alive)
        return True

    def deliver(self, answer: Any) -> None:
        self._job = None
        if self.response_complete or self._target is None:
            return
        answer = self._protocol.predictions.answer(self._target, answer)
        if self._head is None:
            self._answer(answer)
            return
        self._end()
        if isinstance(answer, Problem) or breaks(self._head, answer):
            # A stream without its last chunk is what tells the client; closing sends what it has not read yet.
            self._protocol.transport.close()
        else:
            self._protocol.go_on(answer.body)
            self._protocol.finish(self.keep_alive)

    def _answer(self, answer: wire.Reply | Problem) -> None:
        self._protocol.predictions.count(answer)
        self._end()
        self._protocol.respond(answer, self.request_id, self.keep_alive)


class LaneProtocol(PatientProtocol):
    """The HTTP protocol with a lane for plain predictions."""

    def __init__(
        self, *args: Any, predictions: Predictions, tokens: Tokens | None, cross_origin: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._cross_origin = cross_origin
        self.predictions = predictions
        self.small = min(SMALL, predictions.limit)
        self._tokens = tokens
        self._in_lane: Lane | None = None
        self._idle_since = 0.0
        self._idle_watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(cast(asyncio.Transport, JoiningTransport(transport, self.loop)))

    def on_message_begin(self) -> None:
        """uvicorn builds its scope here; a lane needs none, so it waits until it is known who takes the request."""
        self.phase = HEADERS
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        lane = self._lane() if self._is_plain() else None
        if lane is None:
            self._begin_uvicorns_way()
            super().on_headers_complete()
        else:
            self.phase = BODY
            self.cycle = cast(RequestResponseCycle, lane)
        self._in_lane = lane

    def _begin_uvicorns_way(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers[:] = headers

    def _is_plain(self) -> bool:
        if not self.url.startswith(_PREFIX) or b"%" in self.url or self.expect_100_continue:
            return False
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy or self.flow.write_paused or self.parser.get_method() not in _METHODS:
            return False
        if self._tokens is not None and not self._tokens.allows("POST", PREFIX, authorization_of(self.headers)):
            return False  # refused on the way through the app
        if self.is_crowded or self.has_large_head:
            return False  # refused on uvicorn's way
        return self.parser.get_http_version() == "1.1" and not self.parser.should_upgrade()

    def _lane(self) -> Lane | None:
        content_type, given = b"", None
        for name, value in self.headers:
            if name == b"content-type":
                content_type = value
            elif name == b"x-request-id":
                given = value
            elif name == b"transfer-encoding" and value != b"chunked":
                return None  # refused on uvicorn's way
        if is_form(content_type) or (self._cross_origin and any(name == b"origin" for name, _ in self.headers)):
            return None
        return Lane(self, self.headers, content_type, self.predictions.request_id(given))

    def on_body(self, body: bytes) -> None:
        if self._in_lane is None:
            super().on_body(body)
        elif not self._in_lane.response_complete:
            self.received += len(body)
            self._in_lane.take(body)

    def on_message_complete(self) -> None:
        if self._in_lane is None:
            super().on_message_complete()
            return
        self.phase = WHOLE
        if self._in_lane.response_complete:
            self._done(self._in_lane.keep_alive)
        else:
            self._in_lane.complete(self.url.partition(b"?")[0].decode("latin-1"))

    def respond(self, answer: wire.Reply | Problem, request_id: bytes, keep_alive: bool) -> None:
        """Write an answer to the current request and make the connection ready for the next one."""
        if self.transport.is_closing():
            return
        body, headers = headers_of(answer, request_id)
        head = self.head(answer.status, headers, keep_alive=keep_alive)
        cast(JoiningTransport, self.transport).write_now(head + body)
        self._done(keep_alive)

    @property
    def unread(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def begin(self, head: wire.Reply, request_id: bytes, keep_alive: bool) -> None:
        """Write the head of an answer that comes in pieces."""
        headers = [*stream_headers(head, request_id), (b"transfer-encoding", b"chunked")]
        self.transport.write(self.head(head.status, headers, keep_alive=keep_alive))

    def go_on(self, body: bytes) -> None:
        """Write a piece. An empty one says nothing: as a chunk it would be the end."""
        if body:
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))

    def finish(self, keep_alive: bool) -> None:
        """Write the end of an answer that came in pieces."""
        self.transport.write(b"0\r\n\r\n")
        self._done(keep_alive)

    def _done(self, keep_alive: bool) -> None:
        if not keep_alive and self.phase is BODY:
            # Closed under a client that is still sending, the connection is reset, and the answer with it.
            self.loop.call_later(_LINGER, self.transport.close)
        elif not keep_alive or (self.sends_no_more and not self.pipeline):
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self._idle()

    def _idle(self) -> None:
        """Like uvicorn's keep-alive timeout, but without a timer to set and cancel per request: one timer looks,
        when it fires, whether the connection has been idle for long enough."""
        self._idle_since = self.loop.time()
        if self._idle_watch is None:
            self._idle_watch = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._idle_watch = None
        if self.transport.is_closing():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            left = self.timeout_keep_alive
        if left <= 0:
            self.transport.close()
        else:
            self._idle_watch = self.loop.call_later(left, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_watch is not None:
            self._idle_watch.cancel()
        super().connection_lost(exc)
        if self._in_lane is not None:
            # Without the ring protocol ⇄ lane nothing is left to the collector, which runs rarely here.
            self._in_lane = None
            self.cycle = cast(RequestResponseCycle, None)
