"""ts.metrics.metric: a value with its name and dimensions, TorchServe's older form."""

from __future__ import annotations

from collections.abc import Sequence

from runner.handlers.metrics import CachedMetric, Dimension, MetricTypes, collected_here, type_here

__all__ = ["Metric"]


class Metric:
    """`update` reports a value; `unit` is the word that it is reported in."""

    def __init__(
        self,
        name: str,
        value: float,
        unit: str,
        dimensions: Sequence[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        self.metric_type = type_here(name, MetricTypes.COUNTER)
        self.dimensions = dimensions
        self.dimension_names = [dimension.name for dimension in dimensions]
        self.dimension_values = [dimension.value for dimension in dimensions]
        self._metric = CachedMetric(collected_here(), name, unit, self.dimension_names, self.metric_type)
        self.name = name
        self.unit = self._metric.unit
        self.metric_method = metric_method
        self.value = value
        self.request_id = request_id

    def update(self, value: float) -> None:
        """Report the value."""
        self._metric.add_or_update(value, self.dimension_values)

    def reset(self) -> None:
        """Report 0."""
        self.update(0)

    def __str__(self) -> str:
        dimensions = ",".join(map(str, self.dimensions))
        return f"{self.name}.{self.unit}:{self.value}|#{dimensions}"

    def to_dict(self) -> dict[str, object]:
        """TorchServe's form for JSON."""
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": [dimension.to_dict() for dimension in self.dimensions],
            "RequestId": self.request_id,
        }
