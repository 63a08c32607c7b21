"""Small servers of a thread, whose behaviour a test writes as a function."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.bench.messages import Round

REQUEST = b"POST /predictions/m HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n[]"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@contextmanager
def answering(answer: Callable[[int], bytes | None], size: int = len(REQUEST)) -> Iterator[tuple[str, int]]:
    """A server that gives the n-th request of `size` bytes `answer(n)`, one at a time; None closes its connection.

    An empty answer is none at all: the request goes on waiting.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    turn, numbers = threading.Lock(), iter(range(1_000_000))
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(size, socket.MSG_WAITALL):
                with turn:
                    made = answer(next(numbers))
                    if made is None:
                        return
                    connection.sendall(made)

    def guarded(connection: socket.socket) -> None:
        try:
            serve(connection)
        except OSError:
            return  # the client has left

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            connection.close()


def round_at(address: tuple[str, int], **fields: object) -> Round:
    """A short closed loop of one connection, unless `fields` say otherwise."""
    plain = {"requests": [REQUEST], "connections": 1, "warmup": 0.0, "duration": 0.2, "timeout": 10.0}
    if "rate" not in fields:
        plain["concurrency"] = 1
    return Round(host=address[0], port=address[1], **{**plain, **fields})  # type: ignore[arg-type]
