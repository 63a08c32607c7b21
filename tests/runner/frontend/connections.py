"""A connection to the HTTP protocol, byte by byte, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.server import ServerState

from runner.frontend.app import App
from runner.frontend.health import Health
from runner.frontend.http import http_server
from runner.frontend.lane import LaneProtocol
from runner.frontend.patience import Patience, Room
from runner.metrics import Metrics
from runner.pool.deployment import Deployment
from runner.pool.registry import Registry
from tests.runner.frontend.apps import Answer, actions_on, deploy, echo
from tests.runner.pool.workers import Transport


class Socket(Transport):
    """A client's connection as the protocol sees it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    unread = 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def close(self) -> None:
        """As real transports do: the protocol hears of it in the loop's next turn."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Connection:
    """A client's side: `send` bytes, read what has come back."""

    def __init__(
        self,
        answer: Answer | None = echo,
        *,
        limit: int = 1000,
        patience: Patience | None = None,
        room: Room | None = None,
        **config: Any,
    ) -> None:
        registry, metrics = Registry(), Metrics()
        self.deployment: Deployment = deploy(registry, metrics, answer=answer, **config)
        app = App(registry, metrics, Health(registry), limit, actions_on(registry))
        patience, room = patience or Patience(), room or Room(served=100, told=10)
        server_config = http_server(app, 1.0, patience=patience, room=room).config
        self.protocol: LaneProtocol = server_config.http_protocol_class(  # type: ignore[call-arg]
            config=server_config, server_state=ServerState(), app_state={}
        )
        self._socket = Socket(self.protocol)
        self.protocol.connection_made(self._socket)

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def receive(self, count: int = 1) -> bytes:
        """Everything so far, once `count` responses have begun."""
        while self._socket.written.count(b"HTTP/1.1 ") < count:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return bytes(self._socket.written)

    @property
    def written(self) -> bytes:
        """Everything so far."""
        return bytes(self._socket.written)

    @property
    def closed(self) -> bool:
        return self._socket.closed

    def hang_up(self) -> None:
        self._socket.close()


def post(body: bytes = b"x", *headers: bytes, path: bytes = b"/predictions/m") -> bytes:
    lines = [b"POST %s HTTP/1.1" % path, b"Host: t", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def body_of(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]
