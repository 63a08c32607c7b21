"""The server of a bench, asked about itself: what it serves, what it did in a round, what its processes took."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from runner.asking import NoAnswer, Refused, Target, get
from runner.bench.readings import Readings
from runner.bench.report import Processes, ServerSide
from runner.bench.scrape import batches, between, snapshot
from runner.bench.server import Server
from runner.bench.watch import Watch

_MODEL = re.compile(r"/(?:predictions|explanations|models|v1/models|v2/models)/([^/?:]+)")
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """Of a round: the server's own, its processes, and how large its batches were over time."""

    server: ServerSide | None
    processes: Processes | None
    batches: list[tuple[float, float]]


class Probe:
    """`server`: where we started it, so that its processes can be watched."""

    def __init__(self, target: Target, headers: Mapping[str, str], server: Server | None) -> None:
        self._target = target
        self._headers = headers
        self._server = server
        self._watch = None if server is None else Watch(server.pid)
        self._readings = Readings(self._metrics)
        found = _MODEL.search(target.path)
        self.model = unquote(found[1]) if found else ""

    def address(self) -> tuple[str, int]:
        """Where connections go, by number: the first address of the host that takes one. Raises NoAnswer."""
        try:
            with socket.create_connection((self._target.host, self._target.port), _SECONDS) as connection:
                host, port = connection.getpeername()[:2]
        except OSError as error:
            raise NoAnswer(self._target, str(error)) from error
        return host, port

    def description(self) -> dict[str, Any]:
        """What the server says about the model; empty when it is no server of ours."""
        try:
            answer = get(self._target, f"/models/{self.model}", _SECONDS, self._headers)
            (described, *_) = json.loads(answer.body)
        except (NoAnswer, Refused, ValueError, TypeError):
            return {}
        return described if isinstance(described, dict) else {}

    def begin(self) -> None:
        """The measured part of a round starts."""
        self._readings.begin()
        if self._watch is not None:
            self._watch.begin()

    def end(self) -> Account:
        """The measured part is over."""
        processes = None if self._watch is None else self._watch.end()
        read = [(at, found) for at, text in self._readings.end() if (found := snapshot(text, self.model)) is not None]
        server = between(read[0][1], read[-1][1]) if len(read) > 1 else None
        return Account(server, processes, batches(read))

    def server_end(self) -> str | None:
        """How the server that we started ended, None while it runs."""
        return None if self._server is None else self._server.end_in_words()

    def _metrics(self) -> str | None:
        try:
            return get(self._target, "/metrics", _SECONDS, self._headers).body.decode()
        except (NoAnswer, Refused, ValueError):
            return None
