"""Arrays of what became of requests → the figures that people compare. Pure.

Percentiles are values that occurred (nearest rank), not values between two of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from runner.bench.messages import Ended
from runner.bench.outcome import Failure, succeeded, words

Floats = npt.NDArray[np.float64]

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
_IN_VAIN = [int(failure) for failure in Failure if failure.waited_in_vain]
#: Points of a distribution that a page draws: dense where the slow ones are.
_SHAPE = (*range(0, 90, 3), *(90 + step / 2 for step in range(20)), 99.5, 99.9, 99.99, 100.0)


class Spread(msgspec.Struct, frozen=True):
    """The median of the rounds, and how far they lie apart."""

    median: float
    low: float
    high: float


class Moment(msgspec.Struct, frozen=True, rename="camel"):
    """A slice of a round: seconds from its begin, answers a second, their p99 in milliseconds, failures."""

    at: float
    throughput: float
    p99: float | None
    failed: int


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Samples:
    """The requests of the measured part, by the moment they were meant to be sent. Seconds on one clock.

    `came`: when successful answers came in it, also to requests that were sent before it: the server's work does not
    begin with ours.
    """

    intended: Floats
    sent: Floats
    done: Floats
    outcomes: npt.NDArray[np.int16]
    came: Floats
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which were answered with success."""
        return (self.outcomes >= 200) & (self.outcomes < 300)

    @property
    def waited(self) -> npt.NDArray[np.bool_]:
        """Which count in the latencies: the answered ones, and those that waited in vain, with the time they did."""
        return self.answered | np.isin(self.outcomes, _IN_VAIN)

    def throughput(self) -> float:
        """Successful answers a second that came in the measured part."""
        return len(self.came) / self.seconds if self.seconds > 0 else 0.0

    def milliseconds(self) -> Floats:
        """Latencies from the intended moment, rising."""
        return np.sort((self.done - self.intended)[self.waited] * 1000)

    def from_sending(self) -> Floats:
        """Latencies from the moment of sending, rising: what a measurement that omits the waiting would show."""
        return np.sort((self.done - self.sent)[self.answered] * 1000)

    def lag(self) -> Floats:
        """Milliseconds from the intended moment to sending, rising."""
        late = self.sent - self.intended
        return np.sort(late[~np.isnan(late)] * 1000)

    def failures(self) -> dict[str, int]:
        """How many failed, by kind; the most frequent first."""
        kinds, counts = np.unique(self.outcomes, return_counts=True)
        pairs = zip(kinds.tolist(), counts.tolist(), strict=True)
        failed = [(words(kind), count) for kind, count in pairs if not succeeded(kind)]
        return dict(sorted(failed, key=lambda pair: -pair[1]))


def samples(ended: Ended) -> Samples:
    """What a generator sent back."""
    intended, sent, done = (np.frombuffer(each) for each in (ended.intended, ended.sent, ended.done))
    return cut(intended, sent, done, np.frombuffer(ended.outcomes, np.int16), ended.begin, ended.end)


def cut(
    intended: Floats, sent: Floats, done: Floats, outcomes: npt.NDArray[np.int16], begin: float, end: float
) -> Samples:
    """The measured part of a whole round, its warm-up included."""
    came = done[(outcomes >= 200) & (outcomes < 300) & (done >= begin) & (done <= end)]
    measured = intended >= begin
    return Samples(intended[measured], sent[measured], done[measured], outcomes[measured], came, begin, end)


def percentile(rising: Floats, percent: float) -> float:
    """The smallest value that so many percent do not exceed. Raises ValueError for no values."""
    if not len(rising):
        raise ValueError("no values have no percentiles")
    place = int(np.ceil(len(rising) * percent / 100)) - 1
    return float(rising[max(place, 0)])


def summary(rising: Floats) -> dict[str, float]:
    """PERCENTILES, mean and max of what is sorted; empty for no values."""
    if not len(rising):
        return {}
    named = {name: percentile(rising, percent) for name, percent in PERCENTILES.items()}
    return {**named, "mean": float(rising.mean()), "max": float(rising[-1])}


def shape(rising: Floats) -> list[tuple[float, float]]:
    """The distribution in some sixty points: percent, and the value that so many do not exceed."""
    return [(percent, percentile(rising, percent)) for percent in _SHAPE] if len(rising) else []


def timeline(of: Samples, slices: int = 40) -> list[Moment]:
    """The measured part cut into slices of equal length, by the moment of the answer."""
    if of.seconds <= 0:
        return []
    edges = np.linspace(of.begin, of.end, slices + 1)
    came, _ = np.histogram(of.came, edges)
    places = np.digitize(of.done, edges) - 1
    width = of.seconds / slices
    return [
        _moment(of, places == number, number * width, int(count) / width)
        for number, count in enumerate(came.tolist())
    ]


def _moment(of: Samples, inside: npt.NDArray[np.bool_], at: float, throughput: float) -> Moment:
    latencies = np.sort((of.done - of.intended)[inside & of.answered] * 1000)
    p99 = percentile(latencies, 99) if len(latencies) else None
    return Moment(at, throughput, p99, int((inside & ~of.answered).sum()))
