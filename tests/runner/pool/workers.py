"""Workers as the pool sees them, without processes: a real Link on a transport that remembers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from archiver.config.model import ModelConfig
from runner import wire
from runner.counting import ModelMetrics
from runner.pool.link import Link
from runner.pool.model import Model
from runner.pool.spawner import Process
from tests.runner.configs import make_config


class Transport(asyncio.Transport):
    """Keeps what is written; closing or aborting it is the end of the connection."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._protocol.connection_lost(None)


class Worker:
    """The other end of a link: reads batches, answers them, dies."""

    def __init__(self, model: Model, number: int = 0) -> None:
        process = Process(pid=0, sock=cast(socket.socket, None), output=-1)
        self.link = Link(number, process, "cpu", model)
        self.kills = 0
        self.link.kill = self._killed  # type: ignore[method-assign]  # pid 0 is nobody's to signal
        self._transport = Transport(self.link)
        self._decoder = wire.Decoder()
        self.link.connection_made(self._transport)
        model.worker_ready(self.link)

    def _killed(self) -> None:
        self.kills += 1
        self.die()

    def batches(self) -> list[wire.Run]:
        """The batches that have arrived since the last call."""
        data, self._transport.written = bytes(self._transport.written), bytearray()
        return [cast(wire.Run, frame) for frame in self._decoder.feed(data)]

    async def next_batches(self) -> list[wire.Run]:
        """The batches that come next, as soon as some have come."""
        while not (found := self.batches()):
            await asyncio.sleep(0.001)
        return found

    def say(self, frame: wire.Frame) -> None:
        self.link.data_received(bytes(wire.encode(frame)))

    def reply(self, run: wire.Run, body: bytes = b"ok") -> None:
        """Answer every row with 200."""
        replies = [wire.Reply(200, "", "text/plain", [], body) for _ in run.rows]
        self.say(wire.Ran(run.batch, replies, {"handle": 0.001}))

    def raise_(self, run: wire.Run, *, retire: bool = False) -> None:
        self.say(wire.Raised(run.batch, 503, "ValueError", "Prediction failed", ["trace"], retire))

    def die(self) -> None:
        self._transport.close()


def make_model(**config: Any) -> Model:
    """A model with these settings over the defaults. Needs a running event loop."""
    settings: ModelConfig = make_config(**config)
    return Model("m", "1.0", settings, ModelMetrics("m", "1.0"))


def make_row(text: str = "x") -> wire.Row:
    return wire.Row(text, [("body", "text/plain", text.encode())], wire.pack_headers([]))
