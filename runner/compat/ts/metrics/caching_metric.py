"""ts.metrics.caching_metric"""

from __future__ import annotations

from collections.abc import Sequence

from runner.handlers.metrics import CachedMetric, MetricTypes, collected_here, type_here

__all__ = ["CachingMetric"]


class CachingMetric(CachedMetric):
    """A metric declared without `context.metrics`; its values are reported with the batch under way."""

    def __init__(
        self,
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str],
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        super().__init__(collected_here(), metric_name, unit, dimension_names, type_here(metric_name, metric_type))
