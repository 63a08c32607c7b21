"""The worker's loop: receive a frame, run it, reply. One inference thread, the process's main thread.

Loading, warm-up and serving happen on this one thread, so that what was compiled and captured in warm-up is
what serves. A second thread only watches for the front end to hang up, and then ends the process, even one
whose handler never returns.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import threading
import time
from contextlib import nullcontext

from runner import wire
from runner.worker.beside import Beside
from runner.worker.continuous import serve
from runner.worker.priority import behind_others
from runner.worker.session import LoadError, Session

_CHUNK = 1 << 18


class _Link:
    """Blocking frames over the socket to the front end. Any thread may send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = wire.Decoder()
        self._ready: list[wire.Frame] = []
        self._sending = threading.Lock()

    def receive(self) -> wire.Frame | None:
        """The next frame; None when the front end has closed the link."""
        while not self._ready:
            data = self._sock.recv(_CHUNK)
            if not data:
                return None
            self._ready = self._decoder.feed(data)
        return self._ready.pop(0)

    def send(self, frame: wire.Frame) -> None:
        encoded = wire.encode(frame)
        with self._sending:
            self._sock.sendall(encoded)


def _end_with_front_end(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, getattr(select, "POLLRDHUP", 0) | select.POLLHUP)
    poll.poll()
    os._exit(0)


def _memory() -> int:
    """Resident bytes of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  read on every start; plain is fine
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _load(link: _Link, load: wire.Load) -> Session | None:
    started = time.monotonic()
    session = Session(load)
    try:
        with behind_others() if load.background else nullcontext():
            report = session.open()
    except LoadError as error:
        link.send(wire.LoadFailed(error.kind, error.message, error.trace, error.out_of_memory))
        return None
    link.send(wire.Loaded(time.monotonic() - started, report, _memory()))
    return session


def work(fd: int) -> int:
    """Serve one model over the socket `fd` until the front end closes it. Returns the exit status."""
    # Lines go to the front end's log, which adds time, model and worker.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sock = socket.socket(fileno=fd)
    threading.Thread(target=_end_with_front_end, args=(sock,), daemon=True, name="front-end-watch").start()
    link = _Link(sock)
    load = link.receive()
    if not isinstance(load, wire.Load):
        return 0
    session = _load(link, load)
    if session is None:
        return 1
    # What is loaded stays; the collector need not walk over it again and again while serving.
    gc.collect()
    gc.freeze()
    if session.is_continuous:
        serve(session.continuous(link.send), link.receive)
        return 0
    if session.beside_others:
        Beside(session, link.receive, link.send).serve()
        return 0
    while isinstance(frame := link.receive(), wire.Run):
        link.send(session.run(frame.rows, frame.batch, link.send))
    return 0
