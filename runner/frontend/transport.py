"""A transport that joins what one turn of the event loop has to say into one system call.

uvicorn writes a response's head and body separately, and uvloop makes each a `write` of its own: a third of the
front end's time with small answers.
"""

from __future__ import annotations

import asyncio
from typing import Any


class JoiningTransport:
    """The transport it is given, except that `write` waits for the end of the loop's turn."""

    __slots__ = ("_loop", "_parts", "_transport", "is_closing", "write_now")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        #: For a response that is one piece already. Only when nothing else is under way on the connection.
        self.write_now = transport.write
        #: Asked several times per request; by way of `__getattr__` it would cost more than the answer.
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
