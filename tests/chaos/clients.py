"""Clients that number what they ask. They live in an event loop in a thread of their own; scenarios stay plain."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httptools
import uvloop

from tests.chaos.ledger import Ledger

T = TypeVar("T")

#: Seconds after which an answer counts as lost.
PATIENCE = 30.0
#: Seconds until a client tries again that could not connect.
_AGAIN = 0.02


@dataclass
class Reply:
    """An answer as it came in."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def number(self) -> int | None:
        given = self.headers.get("x-request-id", "")
        return int(given) if given.isdigit() else None


class Connection(asyncio.Protocol):
    """One connection that posts numbers. Many requests may be under way: they are pipelined.

    `begun` resolves with the first byte of an answer, `closed` with the end of the connection.
    """

    def __init__(self, ledger: Ledger, path: str = "/predictions/m") -> None:
        self._ledger = ledger
        self._path = path
        self._waiting: deque[tuple[int, asyncio.Future[Reply | None]]] = deque()
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self.transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def ask(self, text: str = "", *headers: str) -> asyncio.Future[Reply | None]:
        """Post the next number and the text. Resolves to the answer, or to None when there is none."""
        assert self.transport is not None, "ask() on a connection that is not made"
        number = self._ledger.ask(time.monotonic())
        self.transport.write(request(number, text, *headers, path=self._path))
        answer: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, answer))
        return answer

    async def answer_to(self, text: str = "", *headers: str) -> Reply | None:
        """`ask`, and wait for it within the client's patience."""
        try:
            return await asyncio.wait_for(self.ask(text, *headers), PATIENCE)
        except asyncio.TimeoutError:
            self._end(f"nothing within {PATIENCE:g} s")
            self.hang_up()
            return None

    def leave(self) -> None:
        """Hang up in the middle of everything: no answer is wanted."""
        for number, _ in self._waiting:
            self._ledger.left(number)
        self.hang_up()

    def send_no_more(self) -> None:
        """Close this half of the connection; the other one stays open for answers."""
        assert self.transport is not None
        self.transport.write_eof()

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a socket's transport can write

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            self.begun.set_result(None)
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._reply = Reply()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._reply.body += body

    def on_message_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()
        if self._reply.status >= 200:
            self._hear(self._reply)

    def _hear(self, reply: Reply) -> None:
        number = reply.number
        if reply.status == 200 and reply.body.partition(b" ")[0] != str(number).encode():
            number = None  # it names one request and carries another
        told = "retry-after" in reply.headers
        self._ledger.answered(number, reply.status, time.monotonic(), retry_after=told)
        if self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result(reply)
        if "close" in reply.headers.get("connection", ""):
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc or 'closed by the server'}")
        if not self.closed.done():
            self.closed.set_result(None)

    def _end(self, why: str) -> None:
        for number, answer in self._waiting:
            self._ledger.unanswered(number, why)
            if not answer.done():
                answer.set_result(None)
        self._waiting.clear()


def request(number: int, text: str = "", *headers: str, path: str = "/predictions/m") -> bytes:
    """A prediction whose body is the number and the text, as bytes."""
    body = f"{number} {text}" if text else f"{number}"
    lines = [f"POST {path} HTTP/1.1", "Host: t", f"X-Request-Id: {number}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Clients:
    """The thread and its loop."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients", daemon=True)
        self._thread.start()

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there to its end."""
        return asyncio.run_coroutine_threadsafe(story, self._loop).result()

    def call(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def connect(url: str, ledger: Ledger, path: str = "/predictions/m") -> Connection:
    """A connection to the server. Raises OSError."""
    host, _, port = url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(ledger, path), host, int(port))
    return connection


class Load:
    """Clients that post without pause, or with one, until told to stop; who loses the connection makes another.

    `text`: a request's number → what follows it in the body; `each`: requests after which a client makes a new
    connection; `unreachable` counts connections that were not made.
    """

    def __init__(
        self,
        clients: Clients,
        url: str,
        ledger: Ledger,
        count: int,
        *,
        path: str = "/predictions/m",
        text: Callable[[int], str] = lambda _: "",
        pause: float = 0.0,
        each: float = math.inf,
    ) -> None:
        self.unreachable = 0
        self._each = each
        self._clients = clients
        self._url = url
        self._ledger = ledger
        self._path = path
        self._text = text
        self._pause = pause
        self._stopping = False
        self._ended = threading.Event()
        clients.call(lambda: self._begin(count))

    def _begin(self, count: int) -> None:
        everyone = asyncio.gather(*(self._client() for _ in range(count)))
        everyone.add_done_callback(lambda _: self._ended.set())

    async def _client(self) -> None:
        while not self._stopping:
            try:
                connection = await connect(self._url, self._ledger, self._path)
            except OSError:
                if self._ledger.is_ending:
                    return
                self.unreachable += 1
                await asyncio.sleep(_AGAIN)
                continue
            await self._post(connection)

    async def _post(self, connection: Connection) -> None:
        asked = 0
        while connection.is_open and asked < self._each and not self._stopping:
            await connection.answer_to(self._text(self._ledger.sent + 1))
            asked += 1
            if self._pause:
                await asyncio.sleep(self._pause)
        connection.hang_up()

    def stop(self) -> None:
        """Ask nothing more; return when all that was asked has ended."""
        self._stopping = True
        assert self._ended.wait(PATIENCE + 5), "this is a bug of the load: its clients do not end"
