"""Made-up reports."""

from __future__ import annotations

from typing import Any

from runner.tune.facts import Goal
from runner.tune.report import AloneFigures, Chosen, Tried, TuneReport
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import eager, make_reading

BEST, SECOND, OUT = (Candidate(eager(), workers, 8) for workers in (2, 1, 4))


def make_report(*, met: bool = True, **fields: Any) -> TuneReport:
    one, two = make_reading(200.0, 50.0, 16, cores=1.9, memory=400_000_000), make_reading(120.0, 40.0)
    why = [{"setting": "workers", "value": "2", "why": "with 1 120/s at best <here>"}]
    chosen = Chosen(BEST, one, met, {"minWorkers": 2}, "# why\nminWorkers: 2\n", why, [])
    plain: dict[str, Any] = {
        "made": "2026-11-21T08:00:00+00:00",
        "tool": "torch-archive 0.1.0",
        "machine": {"processor": "CPU", "cores": 2, "loadAverage": 0.1},
        "model": {"archive": "m.mar", "name": "m", "version": "1.0", "digest": "1"},
        "input": "sample.json of the archive",
        "goal": Goal("throughput", 100.0),
        "budget": 600.0,
        "seconds": 61.0,
        "alone": [AloneFigures("fp32", "cpu", 1, {"1": 2.0, "8": 9.0}, 1.5, 300_000_000, None, {"cosine": 0.99999})],
        "tried": [
            Tried(BEST, "measured", None, one, [one]),
            Tried(SECOND, "measured", None, two, [two]),
            Tried(OUT, "out", "4 workers × 1 threads are more than the 2 cores"),
        ],
        "chosen": chosen,
    }
    return TuneReport(**{**plain, **fields})
