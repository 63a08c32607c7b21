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

import msgspec

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
from runner.frontend.body_memory import BodyMemory
from runner.frontend.exchange import GONE, Exchange, Stream, nobody_leaves
from runner.frontend.openapi import predictions_document
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
_BODILESS = (204, 304)
#: /predictions/model/version/rest
_SLASHES_OF_REST = 4

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Extra:
    """What a route adds to a request's row: parameters after the body's, headers after the client's."""

    params: tuple[tuple[str, str, bytes], ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Predictions:
    """The routes below /predictions/. `limit`: largest body in bytes."""

    def __init__(self, registry: Registry, metrics: Metrics, limit: int) -> None:
        self.limit = limit
        self.memory = BodyMemory(limit)
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

    def rest(self, path: str) -> list[tuple[bytes, bytes]]:
        """What follows model and version in a path, as the header in which TorchServe hands it on."""
        if path.count("/") < _SLASHES_OF_REST:
            return []
        _, _, rest = path[len(PREFIX) :].split("/", 2)
        return [(b"url_path", rest.encode("utf-8", "surrogateescape"))] if rest else []

    def named(self, name: str, version: str = "") -> Deployment | Problem:
        """That version of the model; without a version the default one."""
        try:
            return self._registry.get(name, version or None)
        except UnknownModel:
            return problem("model" if self._registry.complete else "starting", model=name)
        except UnknownVersion:
            return problem("version" if self._registry.complete else "starting", model=name, version=version)

    def versions(self, name: str) -> list[str]:
        """Those of that model, the default one first. Raises UnknownModel."""
        return [deployment.model.version for deployment in self._registry.versions(name)]

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
        if model.config.use_job_ticket:
            return problem("no-ticket", model=model.name, retry_after=seconds)
        if model.config.sequences is not None:
            return problem("no-sequence", model=model.name, retry_after=seconds)
        return problem("queue-full", model=model.name, capacity=model.batcher.capacity, retry_after=seconds)

    def answer(self, target: Deployment, answer: Any) -> wire.Reply | Problem:
        """What a job was answered, as it goes out. A handler may set any status but one that is no answer."""
        if isinstance(answer, Failure):
            return of_failure(answer, target.model.name, target.why_no_worker())
        assert isinstance(answer, wire.Reply)
        if answer.status not in _STATUSES:
            return problem("bad-status", status=answer.status)
        return answer

    def head(self, target: Deployment, piece: wire.Reply) -> wire.Reply | Problem:
        """How a stream that begins with this piece begins. Where HTTP allows no body there can be no stream."""
        return problem("bad-status", status=piece.status) if piece.status in _BODILESS else self.answer(target, piece)

    def count(self, answer: wire.Reply | Problem) -> None:
        """An answer goes out."""
        self._metrics.response(answer.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extra = Extra(headers=tuple(self.rest(scope["path"])))
        await self.predict(self.find(scope["path"]), extra, scope, receive, send)

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
        if isinstance(answer, Stream):
            await self._flow(answer, send, request_id)
            return
        self.count(answer)
        await send_answer(send, answer, request_id)

    async def _flow(self, stream: Stream, send: Send, request_id: bytes) -> None:
        assert stream.head is not None, "this is a bug: a stream that has not begun"
        self.count(stream.head)
        try:
            await stream.send_to(send, request_id)
        except asyncio.CancelledError:
            stream.withdraw()
            raise
        finally:
            stream.close()

    async def _predict(
        self, target: Deployment | Problem, extra: Extra, scope: Scope, request_id: bytes, receive: Receive
    ) -> wire.Reply | Problem | Stream:
        if isinstance(target, Problem):
            return target
        if scope["method"] == "OPTIONS":
            return _document_of(target)
        row = await self.row(extra, scope, request_id, receive)
        if isinstance(row, Problem):
            return row
        if scope.get("http_version") == "1.0":
            return await self.run(target, row, receive)
        return await self.stream(target, row, receive)

    async def row(self, extra: Extra, scope: Scope, request_id: bytes, receive: Receive) -> wire.Row | Problem:
        """The request as a row, or why it is none. Raises ClientGone."""
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
        return wire.Row(request_id.decode("latin-1"), [*params, *extra.params], packed)

    async def stream(self, target: Deployment, row: wire.Row, receive: Receive) -> wire.Reply | Problem | Stream:
        """Have the row answered: in one piece, or as a stream that has begun. Raises ClientGone."""
        answer = await self._exchange(target, row, Stream(target.model, receive))
        return self._begun(target, answer) if isinstance(answer, Stream) else self._whole(target, answer)

    async def description(self, target: Deployment) -> Any | Problem:
        """What the model's handler says of itself when it is asked to describe it, decoded where it is JSON."""
        row = wire.Row(self.request_id(None).decode("latin-1"), [], wire.pack_headers([(b"describe", b"True")]))
        with target.model.arriving():
            answer = await self.run(target, row, nobody_leaves)
        if isinstance(answer, Problem):
            return answer
        text = answer.body.decode("utf-8", "replace")
        if answer.status >= 400:
            return problem("raised", reason=text)
        return msgspec.json.decode(answer.body) if answer.content_type.startswith("application/json") else text

    async def run(self, target: Deployment, row: wire.Row, receive: Receive) -> wire.Reply | Problem:
        """Have the row answered in one piece. Raises ClientGone."""
        return self._whole(target, await self._exchange(target, row, Exchange(target.model, receive)))

    async def _exchange(self, target: Deployment, row: wire.Row, exchange: Exchange) -> Any:
        """What the row is answered, or the stream that has begun. Raises ClientGone."""
        job = self.submit(target, row, exchange)
        if isinstance(job, Problem):
            return job
        exchange.job = job
        answer = None
        try:
            answer = await exchange.answer
        except asyncio.CancelledError:
            target.model.withdraw(job)
            raise
        finally:
            if answer is not exchange:
                exchange.close()
        if answer is GONE:
            raise ClientGone
        return answer

    def _whole(self, target: Deployment, answer: Any) -> wire.Reply | Problem:
        return answer if isinstance(answer, Problem) else self.answer(target, answer)

    def _begun(self, target: Deployment, stream: Stream) -> Stream | Problem:
        """The stream, unless no stream can begin as the handler wants this one to."""
        assert stream.head is not None, "this is a bug: a stream that has not begun"
        head = self.head(target, stream.head)
        if not isinstance(head, Problem):
            return stream
        stream.withdraw()
        stream.close()
        return head


def _document_of(target: Deployment) -> wire.Reply:
    """How to ask the model, as an OpenAPI document."""
    document = predictions_document(target.model.name, target.model.version, target.manifest.get("description"))
    return wire.Reply(200, "", "application/json", [], msgspec.json.encode(document))
