"""ts.metrics.metrics_store: the metrics of a context, as TorchServe's oldest handlers and their tests make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.handlers.metrics import Metrics

__all__ = ["MetricsStore"]


class MetricsStore(Metrics):
    """`request_ids` is kept and decides nothing: request ids are no labels."""

    def __init__(self, request_ids: Mapping[int, str] | Any, model_name: str) -> None:
        super().__init__(model_name)
        self.request_ids = request_ids
