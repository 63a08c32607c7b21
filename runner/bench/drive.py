"""One round: send what is due, take what comes, note both. Clock and connections are handed in."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from runner.bench.outcome import Failure
from runner.bench.pace import Pace

W = TypeVar("W")


class Wires(Protocol[W]):
    """Places for connections; a place whose connection broke gets a new one when it is used again."""

    def has_idle(self) -> bool:
        """Whether a place is without a request."""

    def idle(self) -> W:
        """A place without a request."""

    def park(self, wire: W) -> None:
        """This one has no request now."""

    def post(self, wire: W) -> None:
        """Send the next request; whatever goes wrong is an outcome."""

    def wait(self, seconds: float) -> Iterable[tuple[W, int]]:
        """Whose request has its outcome, waiting at most so long."""

    def drop(self, wire: W) -> None:
        """Its answer is awaited no more."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is measured, on the clock of the round. `timeout`: seconds that an answer may take."""

    begin: float
    end: float
    timeout: float


@dataclass(slots=True)
class Ledger:
    """Requests in the order in which they were settled: seconds on one clock, and the outcome."""

    intended: array[float] = field(default_factory=lambda: array("d"))
    sent: array[float] = field(default_factory=lambda: array("d"))
    done: array[float] = field(default_factory=lambda: array("d"))
    outcomes: array[int] = field(default_factory=lambda: array("h"))

    def add(self, intended: float, sent: float, done: float, outcome: int) -> None:
        self.intended.append(intended)
        self.sent.append(sent)
        self.done.append(done)
        self.outcomes.append(outcome)


class Drive(Generic[W]):
    """A round under way. `began` is called once, when the measured part starts."""

    def __init__(
        self, pace: Pace, wires: Wires[W], clock: Callable[[], float], window: Window, began: Callable[[], None]
    ) -> None:
        self._pace = pace
        self._wires = wires
        self._clock = clock
        self._window = window
        self._began: Callable[[], None] | None = began
        self._under_way: dict[W, tuple[float, float]] = {}
        self.ledger = Ledger()
        self.stopped: str | None = None

    def run(self) -> None:
        """Until everything is sent and settled, the server is gone, or waiting for the rest has no sense any more."""
        clock, wires, answered = self._clock, self._wires, self._answered
        now = clock()
        while not self._is_over(now):
            self._send(now)
            for wire, outcome in wires.wait(self._patience(now)):
                answered(wire, outcome, clock())
            now = clock()
            self._tell(now)
            self._give_up(now)
        self._close(now)

    def _is_over(self, now: float) -> bool:
        if self.stopped is not None or now >= self._window.end + self._window.timeout:
            return True
        return not self._under_way and self._pace.is_over(now)

    def _send(self, now: float) -> None:
        while self._wires.has_idle() and (intended := self._pace.take(now)) is not None:
            self._post(self._wires.idle(), intended, now)

    def _post(self, wire: W, intended: float, now: float) -> None:
        self._under_way[wire] = (intended, now)
        self._wires.post(wire)

    def _answered(self, wire: W, outcome: int, now: float) -> None:
        intended, sent = self._under_way.pop(wire)
        self.ledger.add(intended, sent, now, outcome)
        if outcome == Failure.REFUSED:
            self.stopped = "the server takes no more connections"
        due = None if self.stopped is not None else self._pace.take(now)
        if due is None:
            self._wires.park(wire)
        else:
            self._post(wire, due, now)

    def _patience(self, now: float) -> float:
        """Seconds until there is something to do but to read answers."""
        window = self._window
        wake = min(self._pace.next() if self._wires.has_idle() else math.inf, window.end + window.timeout)
        if self._began is not None:
            wake = min(wake, window.begin)
        if self._under_way:
            wake = min(wake, self._oldest + window.timeout)
        return max(wake - now, 0.0)

    @property
    def _oldest(self) -> float:
        """When the request that has waited longest was sent: they are kept in that order."""
        return next(iter(self._under_way.values()))[1]

    def _tell(self, now: float) -> None:
        if self._began is not None and now >= self._window.begin:
            self._began()
            self._began = None

    def _give_up(self, now: float) -> None:
        """On answers that have taken too long."""
        while self._under_way and now - self._oldest >= self._window.timeout:
            wire = next(iter(self._under_way))
            self._wires.drop(wire)
            self._answered(wire, Failure.TIMEOUT, now)

    def _close(self, now: float) -> None:
        """What is left was not answered; what was due was not even sent."""
        for wire, (intended, sent) in self._under_way.items():
            self._wires.drop(wire)
            self.ledger.add(intended, sent, now, Failure.UNANSWERED)
        for intended in self._pace.left():
            if intended <= now:
                self.ledger.add(intended, math.nan, now, Failure.UNANSWERED)
