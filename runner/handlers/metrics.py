"""The metrics API of handlers (`context.metrics`), as TorchServe has it. Values travel with the batch's answer.

TorchServe writes each value as a log line that its front end parses; here they are collected and drained.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from runner import wire

_log = logging.getLogger(__name__)

#: TorchServe's short unit → the word it reports. What is not here is reported as it is.
UNITS = {
    "ms": "Milliseconds",
    "s": "Seconds",
    "percent": "Percent",
    "count": "Count",
    "MB": "Megabytes",
    "GB": "Gigabytes",
    "kB": "Kilobytes",
    "B": "Bytes",
    "": "unit",
}


class MetricTypes(enum.Enum):
    """How values of a metric add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Dimension:
    """A label and its value."""

    def __init__(self, name: str, value: object) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"

    def to_dict(self) -> dict[str, object]:
        """TorchServe's form for JSON."""
        return {"Name": self.name, "Value": self.value}


class MetricsCacheKeyError(KeyError):
    """No metric was declared under this name and type."""


class MetricsCacheTypeError(TypeError):
    """A metric was declared with something of the wrong type."""


class MetricsCacheValueError(ValueError):
    """A metric was declared with a value that makes no sense."""


class CachedMetric:
    """A metric declared once and updated often (`add_metric_to_cache`, `get_metric`)."""

    def __init__(
        self,
        sink: list[wire.Metric],
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str],
        metric_type: MetricTypes,
    ) -> None:
        self._sink = sink
        self.metric_name = metric_name
        self.unit = UNITS.get(unit, unit)
        self.dimension_names = list(dimension_names)
        self.metric_type = metric_type

    def add_or_update(self, value: float, dimension_values: Sequence[object] = (), request_id: str = "") -> None:
        """Report a value. One that makes no sense is logged and dropped, as in TorchServe: a prediction does
        not fail because of its metrics."""
        if len(dimension_values) != len(self.dimension_names):
            self._drop(value, f"dimensions {list(dimension_values)} do not match {self.dimension_names}")
        elif self.metric_type is MetricTypes.COUNTER and value < 0:
            self._drop(value, "a counter cannot go down")
        else:
            dimensions = dict(zip(self.dimension_names, map(str, dimension_values), strict=True))
            self._sink.append(
                wire.Metric(self.metric_name, float(value), self.unit, self.metric_type.value, dimensions)
            )

    def update(self, value: float, request_id: str = "", dimensions: Sequence[Dimension] = ()) -> None:
        """Report a value under other dimensions than the declared ones (TorchServe's older form)."""
        self.dimension_names = [dimension.name for dimension in dimensions]
        self.add_or_update(value, [dimension.value for dimension in dimensions], request_id)

    def add_named(self, value: float, given: Mapping[str, object], otherwise: Mapping[str, object]) -> None:
        """Report a value of a defined metric: the handler's own dimensions are defined ones, and the rest of these
        are among `otherwise`. A value whose dimensions are others is logged and dropped."""
        values = {**otherwise, **given}
        if not set(given) <= set(self.dimension_names) <= set(values):
            self._drop(value, f"dimensions {list(given)} do not match {self.dimension_names}, which are defined")
            return
        self.add_or_update(value, [values[name] for name in self.dimension_names])

    def _drop(self, value: float, reason: str) -> None:
        _log.error("metric %s: the value %s was dropped: %s", self.metric_name, value, reason)


class Metrics:
    """Collects what a handler reports while it works on a batch.

    `idx`, the row that a value belongs to, is accepted and decides nothing: request ids are no labels.
    `definitions` say for their metrics what unit, type and dimensions they have, whatever a call says; all other
    metrics are what the call says. `of_worker`: those of the model that this process serves.
    """

    of_worker: ClassVar[Metrics | None] = None

    def __init__(self, model_name: str, definitions: Sequence[wire.MetricDefinition] = ()) -> None:
        self.model_name = model_name
        self._collected: list[wire.Metric] = []
        self._declared: dict[tuple[str, MetricTypes], CachedMetric] = {}
        self._defined: dict[str, CachedMetric] = {}
        self._defined = {
            each.name: self.add_metric_to_cache(each.name, each.unit, each.dimensions, MetricTypes(each.type))
            for each in definitions
        }

    def drain(self) -> list[wire.Metric]:
        """What was reported since the last call."""
        taken = self._collected[:]
        # In place: declared metrics hold this very list.
        self._collected.clear()
        return taken

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str,
        idx: int | None = None,
        dimensions: Iterable[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        """A value of any unit and type."""
        self._report(name, value, unit, dimensions, metric_type)

    def add_counter(
        self, name: str, value: float, idx: int | None = None, dimensions: Iterable[Dimension] = ()
    ) -> None:
        """How many more there are."""
        self._report(name, value, "count", dimensions, MetricTypes.COUNTER)

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Iterable[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """`unit`: ms or s. Raises ValueError for another."""
        _one_of(unit, ("ms", "s"), "time")
        self._report(name, value, unit, dimensions, metric_type)

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Iterable[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """`unit`: B, kB, MB or GB. Raises ValueError for another."""
        _one_of(unit, ("B", "kB", "MB", "GB"), "size")
        self._report(name, value, unit, dimensions, metric_type)

    def add_percent(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        dimensions: Iterable[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """A share of a hundred."""
        self._report(name, value, "percent", dimensions, metric_type)

    def add_error(self, name: str, value: float, dimensions: Iterable[Dimension] = ()) -> None:
        """How many more errors there are; under the level "Error" and no model, as in TorchServe."""
        self._report(name, value, "", dimensions, MetricTypes.COUNTER, level="Error")

    def add_metric_to_cache(
        self,
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> CachedMetric:
        """Declare a metric; `get_metric` finds it again."""
        counted_as = self.type_of(metric_name, metric_type)
        metric = CachedMetric(self._collected, metric_name, unit, dimension_names, counted_as)
        self._declared[metric_name, metric_type] = metric
        return metric

    def type_of(self, name: str, said: MetricTypes) -> MetricTypes:
        """How values of the metric add up: as is defined, else as its maker said."""
        defined = self._defined.get(name)
        return said if defined is None else defined.metric_type

    def get_metric(self, metric_name: str, metric_type: MetricTypes = MetricTypes.COUNTER) -> CachedMetric:
        """The metric declared under this name and type. Raises MetricsCacheKeyError when there is none."""
        try:
            return self._declared[metric_name, metric_type]
        except KeyError:
            raise MetricsCacheKeyError(f"no {metric_type.value} named {metric_name!r} was declared") from None

    def _report(
        self,
        name: str,
        value: float,
        unit: str,
        dimensions: Iterable[Dimension],
        metric_type: MetricTypes,
        level: str = "Model",
    ) -> None:
        labels: dict[str, object] = {dimension.name: dimension.value for dimension in dimensions}
        defined = self._defined.get(name)
        if defined is not None:
            defined.add_named(value, labels, {"ModelName": self.model_name, "Level": level})
            return
        if level == "Model":
            labels.setdefault("ModelName", self.model_name)
        labels.setdefault("Level", level)
        metric = CachedMetric(self._collected, name, unit, list(labels), metric_type)
        metric.add_or_update(value, list(labels.values()))


def collected_here() -> list[wire.Metric]:
    """Where metrics go that were not made by a context: with those of this worker's model; nowhere without one."""
    return [] if Metrics.of_worker is None else Metrics.of_worker._collected


def type_here(name: str, said: MetricTypes) -> MetricTypes:
    """`Metrics.type_of` of this worker's model; as said without one."""
    return said if Metrics.of_worker is None else Metrics.of_worker.type_of(name, said)


def _one_of(unit: str, known: tuple[str, ...], what: str) -> None:
    if unit not in known:
        raise ValueError(f"the unit of a {what} is one of {', '.join(known)}, not {unit!r}")
