"""A gRPC call as a prediction: the row goes the way of all rows, answers and problems become messages and statuses.

Statuses are those of TorchServe's GRPCUtils, which maps HTTP's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeAlias

import grpc
import msgspec

from runner import wire
from runner.frontend.exchange import Stream, nobody_leaves
from runner.frontend.predictions import Predictions
from runner.frontend.problems import Problem
from runner.pool.deployment import Deployment

Context: TypeAlias = grpc.aio.ServicerContext

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    416: grpc.StatusCode.OUT_OF_RANGE,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_BROKEN = "The stream broke off: the handler or its worker failed."


def code_of(status: int) -> grpc.StatusCode:
    """What an HTTP status is in gRPC."""
    known = _CODES.get(status)
    if known is not None:
        return known
    return grpc.StatusCode.FAILED_PRECONDITION if status < 500 else grpc.StatusCode.INTERNAL


class Refused(Exception):
    """A call that is answered with a status instead of a message."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.code = code_of(status)
        self.words = words

    @classmethod
    def of(cls, answer: wire.Reply | Problem) -> Refused:
        """A problem, or a handler's own error, whose body may say more in JSON."""
        if isinstance(answer, Problem):
            return cls(answer.status, answer.message)
        return cls(answer.status, _message_in(answer.body))

    async def end(self, context: Context) -> NoReturn:
        """End the call with it."""
        await context.abort(self.code, self.words)
        raise AssertionError("unreachable")


def _message_in(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
        return str(found["message"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return body.decode("utf-8", "replace")


class Caller:
    """Predictions on behalf of gRPC calls. A call that is cancelled, or whose deadline passes, withdraws its row."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions

    def target(self, name: str, version: str) -> Deployment:
        """That version of the model, or the default one. Raises Refused."""
        found = self.predictions.named(name, version)
        if isinstance(found, Problem):
            raise Refused.of(found)
        return found

    def row(self, params: list[tuple[str, str, bytes]], context: Context, **headers: str) -> wire.Row:
        """A row whose headers are the call's metadata."""
        metadata = [(key, value) for key, value in context.invocation_metadata() or () if isinstance(value, str)]
        given = dict(metadata).get("x-request-id")
        request_id = self.predictions.request_id(given.encode() if given else None)
        packed = [(key.encode(), value.encode("latin-1", "replace")) for key, value in [*metadata, *headers.items()]]
        return wire.Row(request_id.decode("latin-1"), params, wire.pack_headers(packed))

    async def whole(self, target: Deployment, row: wire.Row) -> wire.Reply:
        """The answer in one piece. Raises Refused."""
        with target.model.arriving():
            answer = await self.predictions.run(target, row, nobody_leaves)
        self.predictions.count(answer)
        if isinstance(answer, Problem) or answer.status >= 400:
            raise Refused.of(answer)
        return answer

    async def pieces(
        self, target: Deployment, row: wire.Row, write: Callable[[bytes], Coroutine[Any, Any, None]]
    ) -> None:
        """Write the answer as it comes, in one piece or several. Raises Refused, also on the way."""
        with target.model.arriving():
            answer = await self.predictions.stream(target, row, nobody_leaves)
        if not isinstance(answer, Stream):
            self.predictions.count(answer)
            if isinstance(answer, Problem) or answer.status >= 400:
                raise Refused.of(answer)
            await write(answer.body)
            return
        await self._flow(answer, write)

    async def _flow(self, stream: Stream, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        async def send(part: Any) -> None:
            if part["type"] == "http.response.body" and part["body"]:
                await write(part["body"])

        assert stream.head is not None, "this is a bug: a stream that has not begun"
        self.predictions.count(stream.head)
        try:
            await stream.send_to(send, b"")
        except asyncio.CancelledError:
            stream.withdraw()
            raise
        finally:
            stream.close()
        if not stream.is_whole:
            raise Refused(500, _BROKEN)
