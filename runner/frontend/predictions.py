"""POST /predictions/{model}[/{version}]: what a prediction is, whichever way it comes in.

The plain ones come through `lane.py`; forms, pipelined and odd requests through the ASGI callable here.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from contextlib import nullcontext
from dataclasses import dataclass
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
    send_answer,
)
from runner.frontend.problems import Problem, of_failure, problem
from runner.metrics import Metrics
from runner.pool.deployment import Deployment
from runner.pool.model import Model, ModelState
from runner.pool.registry import Registry, UnknownModel, UnknownVersion
from runner.scheduling.job import Client, Failure, Job

PREFIX = "/predictions/"
_METHODS = ("POST", "PUT", "GET")
_LONGEST_ID = 256
_STATUSES = range(200, 600)
#: Delivered in place of an answer when the client has hung up.
_GONE = object()

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Extra:
    """What a route adds to a request's row: parameters after the body's, headers after the client's."""

    params: tuple[tuple[str, str, bytes], ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Exchange:
    """One waiting ASGI request: gets the job's answer, and finds out whether its client still listens."""

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
        self.limit = limit
        self._registry = registry
        self._metrics = metrics
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = count(1)

    def request_id(self, given: bytes | None) -> bytes:
        """The client's own id, or one of ours."""
        if given is not None and 0 < len(given) <= _LONGEST_ID:
            return given
        return b"%s-%x" % (self._prefix, next(self._numbers))

    def find(self, path: str) -> Deployment | Problem:
        """The model that a path names; what follows the version is the handler's to read."""
        name, _, version = path[len(PREFIX) :].partition("/")
        return self.named(name, version.partition("/")[0])

    def named(self, name: str, version: str = "") -> Deployment | Problem:
        """That version of the model; without a version the default one."""
        try:
            return self._registry.get(name, version or None)
        except UnknownModel:
            return problem("model", model=name)
        except UnknownVersion:
            return problem("version", model=name, version=version)

    def submit(self, target: Deployment, row: wire.Row, client: Client) -> Job | Problem:
        """Accept the row, or say why not."""
        model = target.model
        if model.state is ModelState.FAILED:
            return problem("no-worker", model=model.name, reason=target.why_no_worker())
        if model.state is ModelState.STOPPED:
            return problem("stopped")
        return model.submit(row, client) or self._full(model)

    def _full(self, model: Model) -> Problem:
        model.turned_away()
        seconds = max(1, min(math.ceil(model.queue_seconds()), 60))
        return problem("queue-full", model=model.name, capacity=model.batcher.capacity, retry_after=seconds)

    def answer(self, target: Deployment, answer: Any) -> wire.Reply | Problem:
        """What a job was answered, as it goes out. A handler may set any status but one that is no answer."""
        if isinstance(answer, Failure):
            return of_failure(answer, target.model.name, target.why_no_worker())
        assert isinstance(answer, wire.Reply)
        if answer.status not in _STATUSES:
            return problem("bad-status", status=answer.status)
        return answer

    def count(self, answer: wire.Reply | Problem) -> None:
        """An answer goes out."""
        self._metrics.response(answer.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.predict(self.find(scope["path"]), Extra(), scope, receive, send)

    async def predict(
        self, target: Deployment | Problem, extra: Extra, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer the request from that model, with what the route adds to its row."""
        request_id = self.request_id(dict(scope["headers"]).get(b"x-request-id"))
        arriving = nullcontext() if isinstance(target, Problem) else target.model.arriving()
        try:
            with arriving:
                answer = await self._predict(target, extra, scope, request_id, receive)
        except ClientGone:
            return
        self.count(answer)
        await send_answer(send, answer, request_id)

    async def _predict(
        self, target: Deployment | Problem, extra: Extra, scope: Scope, request_id: bytes, receive: Receive
    ) -> wire.Reply | Problem:
        if isinstance(target, Problem):
            return target
        if scope["method"] not in _METHODS:
            return problem("method")
        headers = dict(scope["headers"])
        try:
            body = await read_body(receive, headers.get(b"content-length"), self.limit)
            params = await params_of(headers.get(b"content-type", b"").decode("latin-1"), body)
        except TooLarge:
            return problem("too-large", limit=self.limit)
        except BadForm as error:
            return problem("bad-request", reason=str(error))
        packed = wire.pack_headers([*scope["headers"], *extra.headers])
        row = wire.Row(request_id.decode("latin-1"), [*params, *extra.params], packed)
        return await self.run(target, row, receive)

    async def run(self, target: Deployment, row: wire.Row, receive: Receive) -> wire.Reply | Problem:
        """Have the row answered. Raises ClientGone."""
        exchange = Exchange(target.model, receive)
        job = self.submit(target, row, exchange)
        if isinstance(job, Problem):
            return job
        exchange.job = job
        try:
            answer = await exchange.answer
        except asyncio.CancelledError:
            target.model.withdraw(job)
            raise
        finally:
            exchange.close()
        if answer is _GONE:
            raise ClientGone
        return self.answer(target, answer)
