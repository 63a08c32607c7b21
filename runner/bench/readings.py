"""A text that changes, read at the begin, twice a second and at the end. It is taken apart later, so that a round is
disturbed by no more than the asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_EVERY = 0.5


class Readings:
    """What `ask` tells from `begin` to `end`. A source that tells nothing at first is not asked again."""

    def __init__(self, ask: Callable[[], str | None], every: float = _EVERY) -> None:
        self._ask = ask
        self._every = every
        self._since = 0.0
        self._read: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._read = []
        self._since = time.perf_counter()
        self._over.clear()
        if self._take():
            self._thread = threading.Thread(target=self._keep_asking, daemon=True)
            self._thread.start()

    def end(self) -> list[tuple[float, str]]:
        """Seconds since the begin, and what was told then; the last is from now."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._take()
        return self._read

    def _keep_asking(self) -> None:
        while not self._over.wait(self._every):
            self._take()

    def _take(self) -> bool:
        text = self._ask()
        if text is not None:
            self._read.append((time.perf_counter() - self._since, text))
        return text is not None
