"""What a reader of the figures should know about them, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.bench.report import Level, Report

#: Part of the generator's ceiling, or of a core, beyond which the generator itself is measured.
_NEAR = 0.8
#: Part of the cores that others may take before it is said.
_BUSY = 0.5
#: What came out of the server is by so much more than the model alone could do that one of them was disturbed.
_ABOVE = 1.05


def of(report: Report, own_server: bool) -> Iterator[str]:
    """`own_server`: the bench started it, on the machine on which the generator runs."""
    yield from of_machine(report.machine)
    cores = report.machine["cores"]
    if own_server and cores < report.model.get("workers", 1) * report.model.get("threads", 1) + 2:
        yield f"server, workers and generator share {cores} cores"
    for level in report.measured:
        yield from _of_level(level, report.ceiling.get(str(level.concurrency)))
    if (
        report.measured
        and report.stopped is None
        and not any(each.server for level in report.measured for each in level.rounds)
    ):
        yield "the server tells nothing about itself on /metrics: no queue, batch and handler times"


def of_machine(machine: Mapping[str, Any]) -> Iterator[str]:
    """Whether others used it."""
    cores, busy = machine["cores"], machine["loadAverage"]
    if busy > cores * _BUSY:
        yield (
            f"the machine was busy before the start (load average {busy:g} on {cores} cores): figures are lower than "
            "on a quiet one, and differ from round to round"
        )


def _of_level(level: Level, ceiling: float | None) -> Iterator[str]:
    if ceiling is not None and level.throughput.median > ceiling * _NEAR:
        yield f"{level.name}: near the generator's own ceiling of {ceiling:.0f}/s; the server may be faster"
    elif max(each.generator_busy for each in level.rounds) > _NEAR:
        yield f"{level.name}: the generator had hardly a moment to spare; the server may be faster"
    if level.of_limit is not None and level.of_limit > _ABOVE:
        yield f"{level.name}: above the limit, which was measured later: the machine was busier then"
    for kind, count in level.failures.items():
        yield f"{level.name}: {count} of {level.requests} requests failed: {kind}"
    restarts = sum(each.server.restarts for each in level.rounds if each.server is not None)
    if restarts:
        workers = "1 worker" if restarts == 1 else f"{restarts} workers"
        yield f"{level.name}: {workers} ended and came back while it was measured; the figures include that"
    late = max((each.lag_p99 or 0.0 for each in level.rounds), default=0.0)
    if level.rate is not None and late > 1.0:
        yield f"{level.name}: requests were sent up to {late:.1f} ms late (p99); latencies count from the schedule"
