"""HTTP/1.1 on uvicorn, with our lane for predictions and our way of ending."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn

from runner.frontend.app import App
from runner.frontend.lane import LaneProtocol
from runner.frontend.listener import Certificate
from runner.frontend.patience import Patience, PatientProtocol, Room


class HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling: it would end the process by the signal that it caught."""

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; once a second each connection is asked whether its client stands still."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in [*self.server_state.connections]:
                cast(PatientProtocol, connection).look(now)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


#: Seconds that an idle connection is kept; clients that pool connections expect more than uvicorn's 5.
_KEEP_ALIVE = 75
#: Seconds, after the drain, for clients that do not read their answers.
_UNREAD_ANSWERS = 5


def http_server(
    app: App,
    drain_timeout: float,
    certificate: Certificate | None = None,
    *,
    patience: Patience,
    room: Room,
) -> HttpServer:
    """A server for the app; `serve(sockets=[...])` runs it until `should_exit`, then lets requests finish.

    `patience` with slow clients, and `room` for how many. With a certificate, one that can be used, it speaks
    TLS 1.2 or newer.
    """
    protocol: Any = partial(PatientProtocol, patience=patience, room=room)
    if app.predicts:
        protocol = partial(
            LaneProtocol,
            predictions=app.predictions,
            tokens=app.tokens,
            cross_origin=app.cors is not None,
            patience=patience,
            room=room,
        )
    config = uvicorn.Config(
        app,
        # uvicorn takes a class; what it does with it is to call it.
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(drain_timeout) + _UNREAD_ANSWERS,
        ssl_certfile=certificate.file if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return HttpServer(config)
