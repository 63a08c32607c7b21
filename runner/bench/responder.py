"""A server with nothing behind it, to find out how fast the generator is: `python -m runner.bench.responder`.

Reads on stdin the size of a request and the bytes to answer it with; prints its port. It is cheaper per request than
the generator: one read, one count, one write, on uvloop, which is C.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

import msgspec
import uvloop

from runner.bench import messages


class Answering(msgspec.Struct, frozen=True):
    """What to answer with: `answer` after every `size` bytes."""

    size: int
    answer: bytes


class _Responder(asyncio.Protocol):
    def __init__(self, order: Answering) -> None:
        self._size = order.size
        self._answer = order.answer
        self._came = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.WriteTransport, transport).write  # uvloop's class derives from none of asyncio's

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        if self._came >= self._size:
            self._came = 0
            self._write(self._answer)


async def serve(order: Answering) -> None:
    """Until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Responder(order), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  the port is the answer
    await loop.run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    body = messages.read(sys.stdin.buffer)
    if body is not None:
        uvloop.run(serve(msgspec.msgpack.decode(body, type=Answering)))


if __name__ == "__main__":
    main()
