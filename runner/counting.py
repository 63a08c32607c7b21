"""What a model version has done, as plain numbers: counting happens once per answered row, on the hot path.
`runner.metrics` makes Prometheus families of them when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from runner import wire
from runner.scheduling.job import Cause

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
#: prometheus_client's own bounds, for values of any kind.
_ANY = (*(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5), *(0.75, 1.0, 2.5, 5.0, 7.5, 10.0))
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
#: A metric's name and its dimensions with their values, sorted.
_Series = tuple[str, tuple[tuple[str, str], ...]]


class Histogram:
    """Counts per bucket and a sum; `observe` costs a bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: upper bound → how many were at most that."""
        running, buckets = 0, []
        for bound, count in zip([*map(str, map(float, self.bounds)), "+Inf"], self.counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return buckets


class ModelMetrics:
    """What one model version has done. An `Observer` of its `Model`."""

    def __init__(self, name: str, version: str) -> None:
        self.labels = (name, version)
        self.latency = Histogram(_SECONDS)
        self.queue = Histogram(_SECONDS)
        self.rows = Histogram(_ROWS)
        self.phases: dict[str, Histogram] = {}
        self.failures = dict.fromkeys(Cause, 0)
        self.retried_rows = 0
        self.restarts = 0
        self.refused = 0
        self.custom: dict[_Series, wire.Metric] = {}
        self.distributions: dict[_Series, Histogram] = {}
        self.last_queue = 0.0
        self.last_handle = 0.0
        self.last_took = 0.0

    def answered(self, queue: float, total: float) -> None:
        self.last_queue = queue
        self.queue.observe(queue)
        self.latency.observe(total)

    def batch(self, rows: int, took: float, seconds: dict[str, float], metrics: list[wire.Metric]) -> None:
        self.rows.observe(rows)
        self.last_took = took
        self.last_handle = seconds.get("handle", 0.0)
        for phase, value in seconds.items():
            histogram = self.phases.get(phase)
            if histogram is None:
                histogram = self.phases[phase] = Histogram(_SECONDS)
            histogram.observe(value)
        for metric in metrics:
            self._add_custom(metric)

    def _add_custom(self, metric: wire.Metric) -> None:
        key = (metric.name, tuple(sorted(metric.dimensions.items())))
        if metric.type == "histogram":
            self.distributions.setdefault(key, Histogram(_ANY)).observe(metric.value)
            return
        known = self.custom.get(key)
        if known is not None and metric.type == "counter":
            metric.value += known.value
        self.custom[key] = metric

    def failed(self, cause: Cause) -> None:
        self.failures[cause] += 1

    def retried(self, rows: int) -> None:
        self.retried_rows += rows

    def restarted(self) -> None:
        """A worker is started again after a death or a failed load."""
        self.restarts += 1

    def turned_away(self) -> None:
        """A request was refused at the door: queue full."""
        self.refused += 1
