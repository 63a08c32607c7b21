"""What a connection may cost: how long slow clients are waited for, how many clients there may be, and what becomes
of one that sends no more.

Rules of the room
1. Nothing here is paid per request: once a second `HttpServer` has each connection `look` whether it stands still.
2. A request that does not arrive is answered 408 and its connection closed; an answer that nobody takes is dropped.
3. The descriptors of the process are not all for clients: workers, archives and the template need some, too. Who
   comes beyond the first limit is answered 503, beyond the second not at all.
4. A client that closes its half of the connection still gets its answers. One that has closed all of it looks the
   same until something is sent: an interim 100, which every client of HTTP/1.1 must skip (RFC 9110, 15.2), finds out.
5. A server that stops closes no connection under a request that is on its way: it answers, says `close`, and closes.

Why a rate for bodies? A limit in seconds alone cuts off an honest upload over a slow line, and lets one byte a second
hold a connection just as long.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from runner.frontend import heads
from runner.frontend.bodies import headers_of
from runner.frontend.problems import Problem, problem

#: Bytes of a body that are worth a second more.
_BYTES_PER_SECOND = 1000
#: Seconds that an answer may wait without the client taking a byte of it.
_UNREAD = 60.0
#: Seconds after the client's end of file at which something is sent; a slow line needs the later ones.
_PROBES = (0.0, 0.1, 1.0)
#: Seconds that an idle connection stays when the server stops: its client may be posting at this moment.
_FAREWELL = 0.2
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for the headers of a request, and for its body: for that one second more per kilobyte that has come."""

    headers: float = 30.0
    body: float = 30.0


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections are served, and how many more are told that there are too many."""

    served: int
    told: int

    def divided(self, parts: int) -> Room:
        """The same for each of so many addresses."""
        return Room(max(1, self.served // parts), max(1, self.told // parts))


def room_for_connections() -> Room:
    """What the limit of open files leaves to clients."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = min(128 + files // 16, files // 2)
    return Room(files - kept, kept // 2)


class Phase(Enum):
    """What a connection is at."""

    SILENT = "nothing has come yet"
    HEADERS = "a request has begun"
    BODY = "its headers are there"
    WHOLE = "it is there"


# Looking a member up in its class costs ten times as much as in the module, and each request passes through them all.
SILENT, HEADERS, BODY, WHOLE = Phase


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits. Whoever overrides the parser's callbacks keeps `phase` and `received`."""

    def __init__(self, *args: Any, patience: Patience, room: Room, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phase = SILENT
        self.received = 0
        self.is_crowded = False
        self.sends_no_more = False
        self.is_stopping = False
        self._patience = patience
        self._room = room
        self._seen: tuple[Phase, object] = (WHOLE, None)
        self._seen_at = 0.0
        self._received_then = 0
        self._unread = 0
        self._unread_at = 0.0
        self._head_first = 0
        self._head_grown = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        beyond = len(self.connections) - self._room.served
        self.is_crowded = beyond > 0
        if beyond > self._room.told:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.phase is HEADERS:
            self._head_grown += len(data)
            if self._head_grown > heads.LARGEST_HEAD:
                self._break_off(problem("large-head", limit=heads.LARGEST_HEAD, count=heads.MOST_HEADERS))
                return
        else:
            self._head_first, self._head_grown = len(data), 0
        if not self.transport.is_closing():
            super().data_received(data)

    @property
    def has_large_head(self) -> bool:
        """Whether the head that is complete is larger than heads may be. It is counted only where it can be."""
        may_be = self._head_first + self._head_grown > heads.LARGEST_HEAD or len(self.headers) > heads.MOST_HEADERS
        return may_be and heads.is_large(self.url, self.headers)

    @property
    def _fault(self) -> Problem | None:
        """Why the request whose head is complete is refused."""
        if self.is_crowded:
            return problem("crowded", most=self._room.served)
        if self.has_large_head:
            return problem("large-head", limit=heads.LARGEST_HEAD, count=heads.MOST_HEADERS)
        reason = heads.fault(self.headers, upgrades=self.parser.should_upgrade())
        return problem("bad-request", reason=reason) if reason else None

    def on_message_begin(self) -> None:
        self.phase = HEADERS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            self.phase = BODY
        elif fault := self._fault:
            self._break_off(fault)
        else:
            self.phase = BODY
            super().on_headers_complete()
            # After a request for another protocol the parser takes nothing more.
            if self.is_stopping or self.parser.should_upgrade():
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.received += len(body)
        # A request that was refused has no cycle.
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.phase = WHOLE
        if not self.transport.is_closing():
            super().on_message_complete()

    @property
    def is_busy(self) -> bool:
        """Whether a request whose headers are there has no complete answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def head(self, status: int, headers: list[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
        """Status line and headers of an answer."""
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        return b"".join(parts)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, in uvicorn's words and our form."""
        self._break_off(problem("bad-request", reason=msg))

    def _break_off(self, answer: Problem) -> None:
        """Refuse what is coming and hang up: without a word where it would be taken for another request's answer."""
        if self.transport.is_closing():
            return
        is_own = self.phase is BODY and not self.pipeline and self.is_busy and not self.cycle.response_started
        if is_own or not self.is_busy:
            self.refuse(answer)
        else:
            self.transport.close()

    def refuse(self, answer: Problem) -> None:
        """Answer a request that is not whole, and hang up."""
        given = dict(self.headers or ()).get(b"x-request-id")
        body, headers = headers_of(answer, given or secrets.token_hex(8).encode())
        self.transport.write(self.head(answer.status, headers, keep_alive=False) + body)
        self.transport.close()

    def look(self, now: float) -> None:
        """Whether the client has stood still for too long. `now`: the loop's time."""
        self._look_at_answer(now)
        seen = (self.phase, self.headers)
        if self._is_ours_to_wait or self.transport.is_closing():
            self._seen = (WHOLE, None)
        elif self._seen[0] is not self.phase or self._seen[1] is not self.headers:
            self._seen, self._seen_at, self._received_then = seen, now, self.received
        elif now - self._seen_at > self._limit:
            self._give_up()

    @property
    def _is_ours_to_wait(self) -> bool:
        """Whether it is not the client who has to go on: its next request stands in line, or we do not read."""
        if self.phase is HEADERS:
            return self.is_busy
        return self.phase is WHOLE or self.flow.read_paused

    @property
    def _limit(self) -> float:
        if self.phase is not BODY:
            return self._patience.headers
        return self._patience.body + (self.received - self._received_then) / _BYTES_PER_SECOND

    def _give_up(self) -> None:
        answered = self.phase is BODY and (not self.is_busy or self.cycle.response_started)
        if self.phase is SILENT or answered:
            self.transport.close()
        else:
            self.refuse(problem("too-slow", what=self.phase.name.lower()))

    def _look_at_answer(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if not unread or not self._unread or unread < self._unread:
            self._unread_at = now
        elif now - self._unread_at > _UNREAD:
            self.transport.abort()
        self._unread = unread

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn always lets the transport close
        """The client sends no more. True keeps the connection for what is still to be answered."""
        waits = self.phase is WHOLE and self.is_busy and self.scheme == "http"
        if waits:
            self.sends_no_more = True
            # HTTP/1.0 knows no interim answers.
            for delay in _PROBES if self.parser.get_http_version() == "1.1" else ():
                self.loop.call_later(delay, self._probe)
        return waits

    def _probe(self) -> None:
        if self.is_busy and not self.cycle.response_started and not self.transport.is_closing():
            self.transport.write(_INTERIM)

    def shutdown(self) -> None:
        """The server stops: answers from now on are the last ones of their connections."""
        self.is_stopping = True
        if self.is_busy:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_FAREWELL, self._part)

    def _part(self) -> None:
        if not self.is_busy:
            self.transport.close()

    def on_response_complete(self) -> None:
        if self.sends_no_more and not self.pipeline:
            self.transport.close()
        else:
            super().on_response_complete()
