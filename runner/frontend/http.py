"""HTTP/1.1 on uvicorn, one system call per response.

uvicorn writes a response's head and body separately, and uvloop makes each a `write` of its own: a third of the
front end's time with small answers. Between the two stands a transport that joins what one turn of the event
loop has to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoiningTransport:
    """The transport it is given, except that `write` waits for the end of the loop's turn."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        super().connection_made(cast(asyncio.Transport, JoiningTransport(transport, self.loop)))


class HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling: it would end the process by the signal that it caught."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


#: Seconds that an idle connection is kept; clients that pool connections expect more than uvicorn's 5.
_KEEP_ALIVE = 75
#: Seconds at the end for clients that do not read their answers; the drain itself is the service's.
_UNREAD_ANSWERS = 5


def http_server(app: Any) -> HttpServer:
    """A server for an ASGI callable; `serve(sockets=[...])` runs it until `should_exit`."""
    return HttpServer(
        uvicorn.Config(
            app,
            http=JoiningProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_UNREAD_ANSWERS,
        )
    )
