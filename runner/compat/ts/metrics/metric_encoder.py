"""ts.metrics.metric_encoder"""

from __future__ import annotations

from json import JSONEncoder
from typing import Any

from ts.metrics.metric import Metric  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers.metrics import Dimension

__all__ = ["MetricEncoder"]


class MetricEncoder(JSONEncoder):
    """Metrics and dimensions in JSON, in TorchServe's form."""

    def default(self, o: Any) -> Any:
        """Raises TypeError for anything else that JSON does not know."""
        return o.to_dict() if isinstance(o, Metric | Dimension) else super().default(o)
