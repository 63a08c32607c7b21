"""pt2.background: one seat's worker serves eager while its compiled successor is made, and then gives way.

Rules of the room
1. There is one attempt per seat, never a second one: what does not compile now would not compile again.
2. Whatever becomes of the successor, the eager worker serves until another one is READY; it leaves at a batch
   boundary. Not even `pt2.fallback: fail` takes a serving model away: that is an error in the log and the report.
3. Successors of one model are made one after the other: the first fills the compile cache, and there is never
   room needed for more than one worker beyond the declared number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from runner import wire
from runner.pool.link import Link, LoadError
from runner.pool.model import Model

log = logging.getLogger("archive.worker")

_STEP = "compile"


class Swap:
    """The seat that is declared as `load`. `start` loads a worker; `turn` is shared by the model's seats."""

    def __init__(
        self, model: Model, load: wire.Load, start: Callable[[wire.Load], Awaitable[Link]], turn: asyncio.Lock
    ) -> None:
        self._model = model
        self._compiled = load
        self._start = start
        self._turn = turn
        self._making: asyncio.Task[Link | None] | None = None
        self._swapped = False
        self._kept: dict[str, Any] | None = None  # the report's row where eager stays

    @property
    def load(self) -> wire.Load:
        """What a worker that is started now is to load."""
        return self._compiled if self._swapped else msgspec.structs.replace(self._compiled, eager_first=True)

    def ready(self) -> Link | None:
        """The successor, once, if it is READY and nobody is there to take over from."""
        if self._swapped or self._making is None or not self._making.done():
            return None
        successor = self._making.result()
        if successor is None or successor.lost.done():
            return None
        self._swapped = True
        self._log(successor)
        return successor

    async def over(self, link: Link) -> Link:
        """The link that the seat goes on with: this one, or the compiled one that has taken its place."""
        if self._swapped:
            return link
        if self._making is None:
            self._making = asyncio.create_task(self._made(), name=f"successor-{link.number}")
        words: set[asyncio.Future[Any]] = {self._making, link.lost}
        await asyncio.wait(words, return_when=asyncio.FIRST_COMPLETED)
        if not self._making.done():
            return link
        successor = self.ready()
        if successor is None:
            self._tell(link)
            return link
        log.info(
            "%s: worker %d: pid %d, compiled, takes over from pid %d",
            self._model.name,
            link.number,
            successor.pid,
            link.pid,
        )
        self._model.worker_ready(successor)
        link.retire()
        return successor

    async def _made(self) -> Link | None:
        """The compiled worker, READY; None when there is none, and then `_kept` says why."""
        async with self._turn:
            try:
                link = await self._start(msgspec.structs.replace(self._compiled, background=True))
            except LoadError as error:
                self._kept = _failed(f"the compiled worker failed to load: {error}")
                return None
        row = _row(link)
        if row is not None and row["status"] == "applied":
            return link
        self._kept = row or _failed("the compiled worker reported no compilation")
        link.retire()
        return None

    def _tell(self, link: Link) -> None:
        """The eager worker's report says why it stays."""
        before = _row(link)
        if link.loaded is None or before is None:
            return
        row = {**before, **(self._kept or _failed("the compiled worker died before it could take over"))}
        line = f"{_STEP:<13} declared {row['declared']} → {row['applied']} ({row['status']}): {row['reason']}"
        report = link.loaded.report
        steps = [row if step["name"] == _STEP else step for step in report["steps"]]
        lines = [line if old.startswith(f"{_STEP} ") else old for old in report["lines"]]
        link.loaded = msgspec.structs.replace(link.loaded, report={**report, "steps": steps, "lines": lines})
        failed = self._compiled.config["pt2"]["fallback"] == "fail"
        level = logging.ERROR if failed else logging.WARNING
        log.log(level, "%s: worker %d goes on without compilation: %s", self._model.name, link.number, line)

    def _log(self, link: Link) -> None:
        for line in link.loaded.report.get("lines", ()) if link.loaded else ():
            log.info("%s: %s", self._model.name, line)

    async def stop(self) -> None:
        """End what is being made, and what was made and did not get to serve."""
        if self._making is None:
            return
        self._making.cancel()
        (made,) = await asyncio.gather(self._making, return_exceptions=True)
        if isinstance(made, Link) and not self._swapped:
            made.retire()


def _failed(reason: str) -> dict[str, Any]:
    return {"applied": "eager", "status": "fallback", "reason": reason}


def _row(link: Link) -> dict[str, Any] | None:
    """What the worker's report says about compilation."""
    steps = link.loaded.report.get("steps", ()) if link.loaded else ()
    return next((row for row in steps if row["name"] == _STEP), None)
