"""Bytes on a connection, through the lane and the whole application: answered or refused, and nothing is left.

What an application raises, uvicorn logs and answers 500; what a callback of the parser raises becomes a 400. Here
both are faults, except where the parser itself or an undecodable path is what raised.
"""

from __future__ import annotations

import logging
import sys
from functools import cache

import httptools
from uvicorn.server import ServerState

from runner import wire
from runner.frontend.app import App
from runner.frontend.health import Health
from runner.frontend.http import http_server
from runner.frontend.patience import Patience, Room
from runner.metrics import Metrics
from runner.pool.registry import Registry
from tests.fuzz.targets.loop import Kept
from tests.runner.frontend.apps import actions_on, deploy
from tests.runner.frontend.connections import Socket

_LOOP = Kept()
_LIMIT = 2000
#: uvicorn takes the path of `*`, or of an address without one, for text that it is not.
_OF_ADDRESSES = (httptools.HttpParserError, UnicodeDecodeError)


class Faults(logging.Handler):
    """What was logged as an error, or raised inside a callback of the parser."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str | BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.found.append((record.exc_info and record.exc_info[1]) or record.getMessage())
        inside = getattr(sys.exc_info()[1], "__context__", None)
        if inside is not None and not isinstance(inside, _OF_ADDRESSES) and "'decode'" not in str(inside):
            self.found.append(inside)


_FAULTS = Faults()
for _name in ("uvicorn.error", "archive"):
    logging.getLogger(_name).addHandler(_FAULTS)
    logging.getLogger(_name).propagate = False


class Server:
    """One application that serves `m`, for all inputs; it takes no management actions, which would change it."""

    def __init__(self) -> None:
        registry, metrics = Registry(), Metrics()
        self.model = deploy(registry, metrics, answer=_ok).model
        app = App(registry, metrics, Health(registry), _LIMIT, actions_on(registry, allowed=False))
        self._config = http_server(app, 1.0, patience=Patience(), room=Room(10, 10)).config

    def converse(self, pieces: list[bytes]) -> Socket:
        """Send the pieces on a new connection."""
        protocol = self._config.http_protocol_class(config=self._config, server_state=ServerState(), app_state={})
        socket = Socket(protocol)
        protocol.connection_made(socket)
        for piece in pieces:
            if not socket.closed:
                protocol.data_received(piece)
        return socket


def _ok(_: wire.Row) -> wire.Reply:
    return wire.Reply(200, "", "text/plain", [], b"ok")


@cache
def _server() -> Server:
    return _LOOP.run(Server)


def one(data: bytes) -> None:
    """The first byte says in pieces of which size the rest comes; 0: in one."""
    step, stream = (data[0] if data else 0) or max(len(data), 1), data[1:]
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    server = _server()
    _FAULTS.found.clear()  # what others have logged
    socket = _LOOP.run(lambda: server.converse(pieces))
    _LOOP.run(socket.close)
    for fault in _FAULTS.found:
        raise fault if isinstance(fault, BaseException) else AssertionError(fault)
    assert not socket.written or socket.written.startswith(b"HTTP/1.1 ")
    assert server.model.batcher.open == 0, "a request is left"
