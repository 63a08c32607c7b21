"""POST /predictions/{model}[/{version}]: the hot path. A raw ASGI callable; Starlette never sees these requests."""

from __future__ import annotations

import asyncio
import math
import secrets
from itertools import count
from typing import Any

from runner import wire
from runner.frontend.bodies import (
    BadForm,
    ClientGone,
    Receive,
    Scope,
    Send,
    TooLarge,
    params_of,
    read_body,
    send_json,
    send_reply,
)
from runner.frontend.problems import Problem, of_failure, problem
from runner.metrics import Metrics
from runner.pool.deployment import Deployment
from runner.pool.model import Model, ModelState
from runner.pool.registry import Registry, UnknownModel, UnknownVersion
from runner.scheduling.job import Failure, Job

PREFIX = "/predictions/"
_LONGEST_ID = 256
#: Delivered in place of an answer when the client has hung up.
_GONE = object()


class Exchange:
    """One waiting request: gets the job's answer, and finds out whether its client still listens."""

    __slots__ = ("_model", "_receive", "_watch", "answer", "job")

    def __init__(self, model: Model, receive: Receive) -> None:
        self._model = model
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self.job: Job | None = None
        self.answer: asyncio.Future[Any] = model.loop.create_future()

    def deliver(self, answer: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def still_waiting(self) -> None:
        if self._watch is None:
            self._watch = self._model.loop.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.job is not None:
            self._model.withdraw(self.job)
        self.deliver(_GONE)

    def close(self) -> None:
        """The request is over, answered or not. Without the cycle job ⇄ client nothing is left to the collector."""
        self.job = None
        if self._watch is not None:
            self._watch.cancel()


class Predictions:
    """The routes below /predictions/. `limit`: largest body in bytes."""

    def __init__(self, registry: Registry, metrics: Metrics, limit: int) -> None:
        self._registry = registry
        self._metrics = metrics
        self._limit = limit
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = self._request_id(headers)
        try:
            answer = await self._predict(scope, headers, request_id, receive)
        except ClientGone:
            return
        if isinstance(answer, wire.Reply):
            self._metrics.response(answer.status)
            await send_reply(send, answer, request_id)
        else:
            self._metrics.response(answer.status)
            await send_json(send, answer.status, answer.body(), request_id, answer.headers)

    def _request_id(self, headers: dict[bytes, bytes]) -> bytes:
        given = headers.get(b"x-request-id")
        if given is not None and 0 < len(given) <= _LONGEST_ID:
            return given
        return b"%s-%x" % (self._prefix.encode(), next(self._numbers))

    async def _predict(
        self, scope: Scope, headers: dict[bytes, bytes], request_id: bytes, receive: Receive
    ) -> wire.Reply | Problem:
        found = self._find(scope["path"])
        if isinstance(found, Problem):
            return found
        if scope["method"] not in ("POST", "PUT", "GET"):
            return problem("method")
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        try:
            body = await read_body(receive, headers.get(b"content-length"), self._limit)
            params = await params_of(content_type, body)
        except TooLarge:
            return problem("too-large", limit=self._limit)
        except BadForm as error:
            return problem("bad-request", reason=str(error))
        row = wire.Row(request_id.decode("latin-1"), params, wire.pack_headers(scope["headers"]))
        return await self._run(found, row, receive)

    def _find(self, path: str) -> Deployment | Problem:
        name, _, version = path[len(PREFIX) :].partition("/")
        version = version.partition("/")[0]
        try:
            return self._registry.get(name, version or None)
        except UnknownModel:
            return problem("model", model=name)
        except UnknownVersion:
            return problem("version", model=name, version=version)

    async def _run(self, deployment: Deployment, row: wire.Row, receive: Receive) -> wire.Reply | Problem:
        model = deployment.model
        if model.state is ModelState.FAILED:
            return problem("no-worker", model=model.name, reason=deployment.why_no_worker())
        if model.state is ModelState.STOPPED:
            return problem("stopped")
        exchange = Exchange(model, receive)
        exchange.job = model.submit(row, exchange)
        if exchange.job is None:
            return self._full(model)
        try:
            answer = await exchange.answer
        except asyncio.CancelledError:
            model.withdraw(exchange.job)
            raise
        finally:
            exchange.close()
        if answer is _GONE:
            raise ClientGone
        if isinstance(answer, Failure):
            return of_failure(answer, model.name, deployment.why_no_worker())
        assert isinstance(answer, wire.Reply)
        return answer

    def _full(self, model: Model) -> Problem:
        model.turned_away()
        seconds = math.ceil(model.queue_seconds())
        capacity = model.batcher.capacity
        return problem("queue-full", model=model.name, capacity=capacity, retry_after=max(1, min(seconds, 60)))
