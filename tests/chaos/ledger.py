"""Who asked and who was answered. Each request has a number, and an answer names the number that it is for.

Rules of the room
1. A request is booked as sent before its first byte leaves, and ends once: answered, lost, refused or left.
2. An answer to a number that has ended already, or to none, is a doubled one. Nobody forgives it.
3. Refused means that the server took nothing: it was ending when the request was sent, and hung up without a byte.
   Left means that the client hung up on purpose. Everything else without an answer is lost.
"""

from __future__ import annotations

import math
from collections import Counter

#: Numbers of lost and doubled answers that are kept for the report.
_SHOWN = 3


class Ledger:
    """The books of one scenario. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.sent = 0
        self.statuses: Counter[str] = Counter()
        self.others: dict[int, int] = {}
        self.seconds: list[float] = []
        self.lost = 0
        self.doubled = 0
        self.without_retry_after = 0
        self.stories: list[str] = []
        self._open: dict[int, float] = {}
        self._ending_since = math.inf

    def ask(self, now: float) -> int:
        """The number of a new request."""
        self.sent += 1
        self._open[self.sent] = now
        return self.sent

    def answered(self, number: int | None, status: int, now: float, *, retry_after: bool = False) -> None:
        """An answer has come that names this number. `others` keeps the statuses that are not 200, by number;
        `retry_after`: it says when to try again."""
        since = self._open.pop(number, None) if number is not None else None
        if since is None:
            self.doubled += 1
            self._tell(f"an answer {status} to request {number}, which waits for none")
            return
        self.statuses[str(status)] += 1
        self.seconds.append(now - since)
        self.without_retry_after += status == 503 and not retry_after
        if status != 200 and number is not None:
            self.others[number] = status

    def unanswered(self, number: int, why: str) -> None:
        """The connection has ended, or the client's patience, and there was no answer."""
        since = self._open.pop(number, None)
        if since is None:
            return
        if since > self._ending_since:
            self.statuses["refused"] += 1
            return
        self.lost += 1
        self._tell(f"no answer to request {number}: {why}")

    def left(self, number: int) -> None:
        """The client hung up and wants no answer any more."""
        if self._open.pop(number, None) is not None:
            self.statuses["left"] += 1

    def ends_at(self, now: float) -> None:
        """The server has been told to stop: what is sent from now on it may refuse."""
        self._ending_since = now

    @property
    def is_ending(self) -> bool:
        return self._ending_since < math.inf

    @property
    def answers(self) -> int:
        return len(self.seconds)

    @property
    def waiting(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    def close(self) -> None:
        """The scenario is over: what is still open is lost."""
        for number in [*self._open]:
            self.unanswered(number, "the scenario is over")

    def p99(self) -> float:
        """Seconds within which 99 of 100 answers came."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] if self.seconds else 0.0

    def _tell(self, story: str) -> None:
        if len(self.stories) < _SHOWN:
            self.stories.append(story)
