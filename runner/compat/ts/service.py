"""ts.service: what handlers use of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runner.handlers.errors import PredictionException

__all__ = ["PredictionException", "emit_metrics"]


def emit_metrics(metrics: Iterable[Any]) -> None:
    """Does nothing: what handlers measure travels with the answer of its batch."""
