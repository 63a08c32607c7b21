"""ts.metrics.metric_cache_errors"""

from __future__ import annotations

import yaml

from runner.handlers.metrics import MetricsCacheKeyError, MetricsCacheTypeError, MetricsCacheValueError

__all__ = [
    "GeneralMetricsCacheError",
    "MetricsCacheIOError",
    "MetricsCacheKeyError",
    "MetricsCachePyYamlError",
    "MetricsCacheTypeError",
    "MetricsCacheValueError",
]


class GeneralMetricsCacheError(Exception):
    """Never raised here; for handlers that catch it, like the two below."""


class MetricsCacheIOError(OSError):
    """A file of metric definitions cannot be read."""


class MetricsCachePyYamlError(yaml.YAMLError):
    """A file of metric definitions is no YAML."""
