"""Serving an asynchronous handler: a task per batch on the inference thread, any number under way.

The front end says how many; here every batch that arrives starts at once, and answers leave as they are ready.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from runner import wire
from runner.worker.session import Session


class Beside:
    """`receive` gives the next frame, None when the front end has hung up; `send` may be called from any thread."""

    def __init__(
        self, session: Session, receive: Callable[[], wire.Frame | None], send: Callable[[wire.Frame], None]
    ) -> None:
        self._session = session
        self._receive = receive
        self._send = send
        self._loop = session.event_loop
        self._running: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    def serve(self) -> None:
        """Until the front end hangs up. Raises what keeps answers from being sent."""
        threading.Thread(target=self._receive_all, daemon=True, name="receiver").start()
        self._loop.run_until_complete(self._ended)

    def _receive_all(self) -> None:
        try:
            while isinstance(frame := self._receive(), wire.Run):
                self._loop.call_soon_threadsafe(self._start, frame)
        finally:
            self._loop.call_soon_threadsafe(self._end, None)

    def _start(self, run: wire.Run) -> None:
        task = self._loop.create_task(self._run(run))
        self._running.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._done)

    async def _run(self, run: wire.Run) -> None:
        self._send(await self._session.run_beside_others(run.rows, run.batch, self._send))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.exception() is not None:
            self._end(task.exception())

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
