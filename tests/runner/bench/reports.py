"""Made-up reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.bench.figures import Moment
from runner.bench.report import Level, Limit, Processes, Report, RoundFigures, ServerSide


@dataclass(frozen=True)
class Made:
    """One level of a made-up report: its rounds' throughputs, a p99 for all."""

    throughputs: tuple[float, ...]
    concurrency: int | None = 16
    rate: float | None = None
    p99: float = 9.0
    failures: tuple[tuple[str, int], ...] = ()
    server: bool = True
    restarts: int = 0


def make_report(*levels: Made, **fields: Any) -> Report:
    plain: dict[str, Any] = {
        "made": "2026-11-21T08:00:00+00:00",
        "tool": "torch-archive 0.1.0",
        "machine": {"processor": "CPU", "cores": 8, "loadAverage": 0.1, "memoryBytes": 8_000_000_000},
        "model": {"name": "m", "version": "1.0", "device": "cpu", "workers": 1, "threads": 2, "batchSize": 8},
        "target": "http://127.0.0.1:8080/predictions/m",
        "input": "sample.json of the archive",
        "warmup": 1.0,
        "duration": 5.0,
        "count": None,
        "ceiling": {"16": 50_000.0},
        "limit": Limit(1, 2, {"4": 400.0}),
    }
    made = [_level(level) for level in levels or (Made((190.0, 200.0, 220.0)),)]
    return Report(**{**plain, **fields}, levels=made)


def _level(made: Made) -> Level:
    rounds = [_round(each, made) for each in made.throughputs]
    shape = [(0.0, 1.0), (50.0, 2.0), (99.0, made.p99), (100.0, made.p99 * 2)]
    return Level(made.concurrency, made.rate, rounds, shape, limit=400.0)


def _round(throughput: float, made: Made) -> RoundFigures:
    latency = {"p50": 2.0, "p90": 5.0, "p95": 7.0, "p99": made.p99, "p99.9": 15.25, "mean": 2.5, "max": 123.4}
    quantiles = {"p50": 1.0, "p90": 1.5, "p99": 2.0}
    server = ServerSide(1000, 250, 4.0, {"4": 250}, 0.5, 1.2, quantiles, {"inference": 1.1}, 2.2, 0.5, made.restarts)
    return RoundFigures(
        throughput=throughput,
        requests=1000,
        failures=dict(made.failures),
        latency=latency,
        from_sending=latency,
        lag_p99=0.0,
        generator_busy=0.1,
        load_average=0.2,
        server=server if made.server else None,
        processes=Processes(3, 0.9, 300_000_000, 200_000_000) if made.server else None,
        timeline=[Moment(0.0, throughput, 8.0, 0), Moment(2.5, throughput, None, 1)],
        batches=[(0.25, 3.0), (0.75, 5.0)] if made.server else [],
    )
