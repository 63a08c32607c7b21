"""ts.metrics.metric_type_enum"""

from runner.handlers.metrics import MetricTypes

__all__ = ["MetricTypes"]
