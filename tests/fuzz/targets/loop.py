"""An event loop for targets that need one: kept from input to input, and idle after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

_Found = TypeVar("_Found")
_TURNS = 10_000


class Kept:
    """One loop. `run` calls something on it and turns it until nothing is left to do at once; what the loop would
    only have logged is raised."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._faults: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self._faults.append(context))

    def run(self, work: Callable[[], _Found]) -> _Found:
        asyncio.set_event_loop(self._loop)
        found = self._loop.run_until_complete(self._settled(work))
        faults, self._faults = self._faults, []
        for fault in faults:
            raise fault.get("exception") or AssertionError(fault["message"])
        return found

    async def _settled(self, work: Callable[[], _Found]) -> _Found:
        found = work()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if not self._loop._ready:  # type: ignore[attr-defined]  # how idle asyncio is, it tells nobody else
                return found
        raise AssertionError("it never comes to rest")
