"""ts.metrics.unit"""

from __future__ import annotations

from runner.handlers.metrics import UNITS

__all__ = ["Units"]


class Units:
    """Short unit → the word that is reported."""

    def __init__(self) -> None:
        self.units: dict[str | None, str] = {None: UNITS[""]}
        self.units.update(UNITS)
