"""Whether a request is due. No clock: `now` is handed in, in seconds on any clock that does not go back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol


class Pace(Protocol):
    """When the next request is meant to be sent."""

    def take(self, now: float) -> float | None:
        """When the request that may be sent now was meant to be; None when none is due."""

    def next(self) -> float:
        """When the next one is due, as far as time alone decides; infinity when there is none."""

    def is_over(self, now: float) -> bool:
        """Whether no request will be due any more."""

    def left(self) -> Sequence[float]:
        """Those that were due and have not been taken."""


class Closed:
    """As many as there are connections, each anew when it is answered: until `end`, or until `count` have been taken
    since `begin`."""

    def __init__(self, begin: float, end: float, count: int | None = None) -> None:
        self._begin = begin
        self._end = end if count is None else math.inf
        self._left = math.inf if count is None else count

    def take(self, now: float) -> float | None:
        if self.is_over(now):
            return None
        if now >= self._begin:
            self._left -= 1
        return now

    def next(self) -> float:
        return math.inf

    def is_over(self, now: float) -> bool:
        return now >= self._end or self._left <= 0

    def left(self) -> Sequence[float]:
        return ()


class Open:
    """By a schedule, whatever becomes of the requests."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = times
        self._place = 0

    def take(self, now: float) -> float | None:
        place = self._place
        if place == len(self._times) or self._times[place] > now:
            return None
        self._place = place + 1
        return self._times[place]

    def next(self) -> float:
        return self._times[self._place] if self._place < len(self._times) else math.inf

    def is_over(self, now: float) -> bool:
        return self._place == len(self._times)

    def left(self) -> Sequence[float]:
        return self._times[self._place :]
