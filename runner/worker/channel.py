"""Blocking frames over a socket."""

from __future__ import annotations

import socket
import threading

from runner import wire

_CHUNK = 1 << 18


class Channel:
    """One end of a connection. One thread receives; any may send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = wire.Decoder()
        self._ready: list[wire.Frame] = []
        self._sending = threading.Lock()

    def receive(self) -> wire.Frame | None:
        """The next frame; None when the other side has closed the connection."""
        while not self._ready:
            data = self._sock.recv(_CHUNK)
            if not data:
                return None
            self._ready = self._decoder.feed(data)
        return self._ready.pop(0)

    def send(self, frame: wire.Frame) -> None:
        """Raises WireError for a frame that is too large, and OSError when the other side is gone."""
        encoded = wire.encode(frame)
        with self._sending:
            self._sock.sendall(encoded)
