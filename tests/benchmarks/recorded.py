"""Made-up lines of a run: two rounds of two servers."""

from __future__ import annotations

from benchmarks.side_by_side.cells import Cell
from benchmarks.side_by_side.records import Calibration, Installed, Level, Record, Run, Visit

ECHO = Cell("echo")
MACHINE = {"processor": "CPU", "cores": 2, "memoryBytes": 8_000_000_000, "python": "3.11.7"}


def visit(server: str, number: int, rates: tuple[float, ...], **fields) -> Visit:
    levels = [Level(each, rate, 1.0, 2.0, 100, {}) for each, rate in zip(ECHO.connections, rates, strict=False)]
    return Visit(number, ECHO.name, server, **{"start": 2.0, "memory": 300_000_000, "levels": levels, **fields})


def lines(*more: Record) -> list[Record]:
    """torch-archive is 4 and 5 times as fast as TorchServe, in rounds of different speed."""
    return [
        Run("2026-12-01T08:00:00+00:00", "full", 2, 3.0, MACHINE),
        Installed("torch-archive", {"torch-archive": "0.1.0", "torch": "2.13.0"}),
        Installed("torchserve", {"torchserve": "0.12.0", "torch": "2.13.0"}),
        Calibration(0, "echo", 1000.0, 0.5, 4000.0, 9000.0),
        visit("torch-archive", 0, (400.0, 2000.0)),
        visit("torchserve", 0, (100.0, 500.0)),
        Calibration(1, "echo", 500.0, 1.0, 2000.0, 9000.0),
        visit("torchserve", 1, (40.0, 200.0)),
        visit("torch-archive", 1, (200.0, 1000.0)),
        *more,
    ]
