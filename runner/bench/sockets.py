"""Connections of the generator: sockets that never block, one selector."""

from __future__ import annotations

import errno
import itertools
import os
import select
import selectors
import socket
from collections.abc import Iterator, Sequence

from runner.bench.outcome import Failure
from runner.bench.reading import Malformed, Reader

_CHUNK = 1 << 16
_READ, _BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE
#: Selectors wait for whole milliseconds; below this many seconds that would be late.
_FINE = 0.02


class Wire:
    """A place for a connection. `unsent`: what the system has not taken yet."""

    __slots__ = ("busy", "reader", "socket", "unsent")

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.reader = Reader()
        self.unsent: memoryview | None = None
        self.busy = False


class Sockets:
    """`drive.Wires` over TCP. `requests` are sent in turn; `capacity`: most connections."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], capacity: int) -> None:
        self._address = address
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._requests = itertools.cycle(requests)
        self._idle = [Wire() for _ in range(capacity)]
        self._failed: list[tuple[Wire, int]] = []
        self._selector = selectors.DefaultSelector()

    def has_idle(self) -> bool:
        return bool(self._idle)

    def idle(self) -> Wire:
        return self._idle.pop()

    def park(self, wire: Wire) -> None:
        self._idle.append(wire)

    def post(self, wire: Wire) -> None:
        wire.busy = True
        request = next(self._requests)
        try:
            if wire.socket is None:
                self._connect(wire, request)
                return
            sent = wire.socket.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._failed.append((wire, self._broken(wire, error)))
            return
        if sent < len(request):
            self._leave(wire, memoryview(request)[sent:])

    def drop(self, wire: Wire) -> None:
        if wire.socket is not None:
            self._selector.unregister(wire.socket)
            wire.socket.close()
        wire.socket, wire.unsent, wire.busy = None, None, False

    def wait(self, seconds: float) -> Iterator[tuple[Wire, int]]:
        if self._failed:
            failed, self._failed = self._failed, []
            yield from failed
            return
        if 0 < seconds < _FINE:
            select.select([self._selector], [], [], seconds)
            seconds = 0
        for key, events in self._selector.select(seconds):
            wire: Wire = key.data
            if events & _READ:
                outcome = self._read(wire)
                if outcome is not None:
                    wire.busy = False
                    yield wire, outcome
            elif wire.unsent is not None:
                self._flush(wire)

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self.drop(key.data)
        self._selector.close()

    def _connect(self, wire: Wire, request: bytes) -> None:
        made = socket.socket(self._family, socket.SOCK_STREAM)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = made.connect_ex(self._address)
        if code not in (0, errno.EINPROGRESS):
            made.close()
            raise OSError(code, os.strerror(code))
        wire.reader, wire.socket, wire.unsent = Reader(), made, memoryview(request)
        self._selector.register(made, _BOTH, wire)

    def _leave(self, wire: Wire, rest: memoryview) -> None:
        assert wire.socket is not None, "this is a bug: something is unsent on no connection"
        wire.unsent = rest
        self._selector.modify(wire.socket, _BOTH, wire)

    def _flush(self, wire: Wire) -> None:
        assert wire.socket is not None and wire.unsent is not None, "this is a bug: nothing is unsent"
        try:
            rest = wire.unsent[wire.socket.send(wire.unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._failed.append((wire, self._broken(wire, error)))
            return
        wire.unsent = rest if rest else None
        if wire.unsent is None:
            self._selector.modify(wire.socket, _READ, wire)

    def _read(self, wire: Wire) -> int | None:
        """The outcome, where what came settles one. Between two requests a server may close."""
        assert wire.socket is not None, "this is a bug: an event of no connection"
        busy = wire.busy
        try:
            data = wire.socket.recv(_CHUNK)
            outcome = wire.reader.feed(data) if data else self._ended(wire)
        except BlockingIOError:
            return None
        except (OSError, Malformed) as error:
            outcome = self._broken(wire, error)
        if outcome is not None and (wire.unsent is not None or not wire.reader.keeps_alive):
            self.drop(wire)
        return outcome if busy else None

    def _ended(self, wire: Wire) -> int:
        status = wire.reader.end()
        self.drop(wire)
        return Failure.CLOSED if status is None else status

    def _broken(self, wire: Wire, error: Exception) -> Failure:
        self.drop(wire)
        if isinstance(error, Malformed):
            return Failure.MALFORMED
        return Failure.REFUSED if isinstance(error, ConnectionRefusedError) else Failure.BROKEN
