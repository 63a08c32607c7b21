"""Who counts what happens to a model's rows."""

from __future__ import annotations

from typing import Protocol

from runner import wire
from runner.scheduling.job import Cause


class Observer(Protocol):
    """Who counts."""

    def answered(self, queue: float, total: float) -> None:
        """A row has been answered by its handler; seconds in line and altogether."""

    def batch(self, rows: int, took: float, seconds: dict[str, float], metrics: list[wire.Metric]) -> None:
        """A batch has come back; `took`: seconds since it began in its worker, as seen from here."""

    def failed(self, cause: Cause) -> None:
        """A row was answered without a reply."""

    def retried(self, rows: int) -> None:
        """Rows are tried again."""

    def turned_away(self) -> None:
        """A request found the queue full."""
