"""A waiting ASGI request as the client of its job: the answer in one piece, or as it comes.

Why a limit on what is unread? A worker is shared by the rows of its batch and cannot wait for one slow reader. So
pieces pile up here, and a reader who lets too much pile up is cut off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from runner import wire
from runner.frontend.bodies import Receive, Send, stream_headers
from runner.pieces import breaks, joined
from runner.pool.model import Model
from runner.scheduling.job import Job

#: Bytes of a stream that its client has not read; with more it is cut off.
UNREAD_LIMIT = 4 << 20

#: Delivered in place of an answer when the client has hung up.
GONE = object()


async def nobody_leaves() -> Any:
    """In place of ASGI's `receive` where a client that leaves is noticed otherwise, or cannot."""
    await asyncio.get_running_loop().create_future()


class Exchange:
    """One waiting ASGI request: gets the job's answer, and finds out whether its client still listens.

    An answer that comes in pieces is kept until it is whole: for HTTP/1.0, and for routes that wrap answers.
    """

    __slots__ = ("_model", "_pieces", "_receive", "_watch", "answer", "job")

    def __init__(self, model: Model, receive: Receive) -> None:
        self._model = model
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self._pieces: list[wire.Reply] = []
        self.job: Job | None = None
        self.answer: asyncio.Future[Any] = model.loop.create_future()

    def piece(self, reply: wire.Reply) -> None:
        self._pieces.append(reply)

    def deliver(self, answer: Any) -> None:
        if self._pieces and isinstance(answer, wire.Reply):
            answer = joined(self._pieces, answer)
        if not self.answer.done():
            self.answer.set_result(answer)

    def still_waiting(self) -> None:
        if self._watch is None:
            self._watch = self._model.loop.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.withdraw()
        self.deliver(GONE)

    def withdraw(self) -> None:
        """Nobody waits for the answer any more."""
        if self.job is not None:
            self._model.withdraw(self.job)

    def close(self) -> None:
        """The request is over, answered or not. Without the cycle job ⇄ client nothing is left to the collector."""
        self.job = None
        if self._watch is not None:
            self._watch.cancel()


class Stream(Exchange):
    """An exchange whose answer goes out as it comes. When it begins, `answer` is the stream itself."""

    __slots__ = ("_ended", "_news", "_unread", "_waiting", "head")

    def __init__(self, model: Model, receive: Receive) -> None:
        super().__init__(model, receive)
        self.head: wire.Reply | None = None
        self._waiting: deque[bytes] = deque()
        self._unread = 0
        self._news = asyncio.Event()
        self._ended: bool | None = None  # whole, or broken

    @property
    def is_whole(self) -> bool:
        """Whether it has ended, and nothing is missing."""
        return self._ended is True

    def piece(self, reply: wire.Reply) -> None:
        if self.head is None and not self.answer.done():
            self.head = reply
            self.answer.set_result(self)
        if self._unread > UNREAD_LIMIT:
            self.withdraw()
            self._end(whole=False)
        else:
            self._put(reply.body)

    def deliver(self, answer: Any) -> None:
        if self.head is None:
            super().deliver(answer)
        elif isinstance(answer, wire.Reply) and not breaks(self.head, answer):
            self._put(answer.body)
            self._end(whole=True)
        else:
            self._end(whole=False)

    def _put(self, body: bytes) -> None:
        self._waiting.append(body)
        self._unread += len(body)
        self._news.set()

    def _end(self, *, whole: bool) -> None:
        if self._ended is None:
            self._ended = whole
        self._news.set()

    async def send_to(self, send: Send, request_id: bytes) -> None:
        """Send the pieces until the stream ends. A broken one is left incomplete, and so its connection is closed."""
        assert self.head is not None, "this is a bug: a stream that has not begun"
        headers = stream_headers(self.head, request_id)
        await send({"type": "http.response.start", "status": self.head.status, "headers": headers})
        while self._waiting or self._ended is None:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                body = self._waiting.popleft()
                await send({"type": "http.response.body", "body": body, "more_body": True})
                self._unread -= len(body)
        if self._ended:
            await send({"type": "http.response.body", "body": b""})
