"""One worker as the front end sees it: its socket, its batches in flight, what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from runner import wire
from runner.pool.spawner import Process
from runner.scheduling.batcher import Batch

log = logging.getLogger("archive.worker")


class LinkState(Enum):
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    LOST = "LOST"


class LoadError(Exception):
    """A worker could not load its model. `failure` is its own report."""

    def __init__(self, failure: wire.LoadFailed) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class Owner(Protocol):
    """Whose batches travel on a link."""

    def worker_answered(self, link: Link, answer: wire.Ran | wire.Raised) -> None:
        """A batch in flight has come back."""

    def worker_sent(self, link: Link, pieces: wire.Pieces) -> None:
        """Parts of answers of a batch in flight."""

    def worker_lost(self, link: Link) -> None:
        """The worker is gone; what is in flight was not answered."""


class Link(asyncio.Protocol):
    """A worker process.

    `in_flight`: batches sent and not answered, by number, in the order they were sent. `abreast`: how many of them
    the worker runs at once; with 1 it is the first one that runs.
    `served`: it has answered a batch; `hung`: we ended it for giving no answer; `retired`: it leaves as it should.
    `loading` resolves to the worker's word about loading; `lost` when the connection has ended.
    """

    def __init__(self, number: int, process: Process, device: str, owner: Owner) -> None:
        self.number = number
        self.pid = process.pid
        self.device = device
        self.state = LinkState.LOADING
        self.in_flight: dict[int, Batch] = {}
        self.abreast = 1
        self.hung = False
        self.served = False
        self.retired = False
        self.loaded: wire.Loaded | None = None
        self.started_at = time.time()
        self.last_lines: deque[str] = deque(maxlen=20)
        loop = asyncio.get_running_loop()
        self.loading: asyncio.Future[wire.Loaded | wire.LoadFailed] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._decoder = wire.Decoder()
        self._transport: asyncio.Transport | None = None

    @property
    def room(self) -> int:
        """How many batches more would start at once."""
        if self.state is not LinkState.READY or (self.in_flight and self.first.is_suspect):
            return 0
        return max(0, self.abreast - len(self.in_flight))

    @property
    def first(self) -> Batch:
        """The oldest batch in flight."""
        return next(iter(self.in_flight.values()))

    @property
    def running(self) -> list[Batch]:
        """The batches that the worker is at work on."""
        return list(self.in_flight.values())[: self.abreast]

    def find(self, number: int) -> Batch | None:
        """The running batch of that number: no other can have news."""
        batch = self.in_flight.get(number)
        return batch if self.abreast > 1 or (batch is not None and batch is self.first) else None

    def send(self, frame: wire.Frame) -> None:
        """Put the frame on the wire; dropped if the worker is gone, which `worker_lost` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.encode(frame))

    def run(self, batch: Batch, now: float) -> None:
        """Send a batch. Raises WireError, and sends nothing, when its rows are too large for one frame."""
        self.send(wire.Run(batch.number, [job.row for job in batch.jobs]))
        if len(self.in_flight) < self.abreast:
            batch.start(now)
        self.in_flight[batch.number] = batch

    def finished(self, batch: Batch, now: float) -> None:
        """The batch has been answered; the next one, if any waits in the worker, runs since now."""
        self.served = True
        del self.in_flight[batch.number]
        if self.abreast == 1 and self.in_flight:
            self.first.start(now)

    def kill(self) -> None:
        """End the worker at once; `worker_lost` follows. A lost worker's pid may be somebody else's by now."""
        if self.state is LinkState.LOST:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def retire(self) -> None:
        """Take no more batches, and hang up when those in flight are answered."""
        if self.state is LinkState.LOST:
            return
        self.retired = True
        self.state = LinkState.UNLOADING
        if not self.in_flight:
            self.close()

    def close(self) -> None:
        """Hang up: the worker ends itself at once."""
        self.state = LinkState.UNLOADING
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream socket's transport can write

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except wire.WireError as error:
            log.error("worker %d (pid %d) sent %s; ending it", self.number, self.pid, error)
            self.kill()
            return
        for frame in frames:
            self._hear(frame)

    def _hear(self, frame: wire.Frame) -> None:
        if isinstance(frame, wire.Ran | wire.Raised) and self.in_flight:
            self._owner.worker_answered(self, frame)
        elif isinstance(frame, wire.Pieces) and self.in_flight:
            self._owner.worker_sent(self, frame)
        elif isinstance(frame, wire.Loaded | wire.LoadFailed) and not self.loading.done():
            self.loading.set_result(frame)
        else:
            log.error("worker %d (pid %d) spoke out of turn; ending it", self.number, self.pid)
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self.state = LinkState.LOST
        if not self.lost.done():
            self.lost.set_result(None)
        self._owner.worker_lost(self)


class OutputLines(asyncio.Protocol):
    """What a worker prints, line by line; a line longer than 8 kB is cut."""

    _LONGEST = 8192

    def __init__(self, on_line: Callable[[str], None], on_end: Callable[[OutputLines], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Hear no more."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._rest) > self._LONGEST:
            self._say(self._rest)
            self._rest = b""

    def _say(self, line: bytes) -> None:
        self._on_line(line[: self._LONGEST].decode("utf-8", "replace").rstrip())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._say(self._rest)
        self._on_end(self)
