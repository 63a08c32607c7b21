"""What became of one request: an HTTP status, or a negative number for what was no answer."""

from __future__ import annotations

from enum import IntEnum


class Failure(IntEnum):
    """Why there is no status."""

    REFUSED = -1
    BROKEN = -2
    CLOSED = -3
    MALFORMED = -4
    TIMEOUT = -5
    UNANSWERED = -6

    @property
    def words(self) -> str:
        return _WORDS[self]

    @property
    def waited_in_vain(self) -> bool:
        """Whether the time until it failed was spent waiting for the answer."""
        return self in (Failure.TIMEOUT, Failure.UNANSWERED)


_WORDS = {
    Failure.REFUSED: "connection refused",
    Failure.BROKEN: "connection broken",
    Failure.CLOSED: "connection closed before the answer was whole",
    Failure.MALFORMED: "no HTTP answer",
    Failure.TIMEOUT: "timed out",
    Failure.UNANSWERED: "not answered by the end",
}


def words(outcome: int) -> str:
    """The kind of an outcome, as a report counts it."""
    return f"status {outcome}" if outcome > 0 else Failure(outcome).words


def succeeded(outcome: int) -> bool:
    return 200 <= outcome < 300
