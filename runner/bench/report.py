"""What a bench found, as it stands in `report.json`. Times in milliseconds unless a name says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from archiver.errors import ArchiveError, NotFound
from runner.bench.figures import Moment, Spread, spread

#: Of the layout of report.json.
FORMAT = 1


class NoReport(ArchiveError):
    """A file is no report of ours."""

    code = "bench/no-report"


class ServerSide(msgspec.Struct, frozen=True, rename="camel"):
    """The server's own account of a round: means per row in line and altogether, per batch in the handler.

    `other_ms` is neither line nor handler: the way to the worker and back. `handler_quantiles_ms` are read off a
    histogram. `batch_sizes`: upper bound of rows → batches. `restarts` of workers.
    """

    rows: int
    batches: int
    mean_batch: float
    batch_sizes: dict[str, int]
    queue_ms: float
    handler_ms: float
    handler_quantiles_ms: dict[str, float]
    phases_ms: dict[str, float]
    request_ms: float
    other_ms: float
    restarts: int = 0


class Processes(msgspec.Struct, frozen=True, rename="camel"):
    """The server's processes in a round. `cores`: processor time over time. Memory in bytes, at the end; `pss` counts
    shared pages once, where the system tells. GPU figures are means and peaks, `gpu_bytes` of the whole device."""

    count: int
    cores: float
    rss: int
    pss: int | None
    gpu_percent: float | None = None
    gpu_bytes: int | None = None


class RoundFigures(msgspec.Struct, frozen=True, rename="camel"):
    """One round. `generator_busy`: part of a core that sending took; `load_average`: the machine's, before it;
    `batches`: seconds from its begin, and how many rows the server's batches had around then."""

    throughput: float
    requests: int
    failures: dict[str, int]
    latency: dict[str, float]
    from_sending: dict[str, float]
    lag_p99: float | None
    generator_busy: float
    load_average: float
    server: ServerSide | None
    processes: Processes | None
    timeline: list[Moment]
    batches: list[tuple[float, float]] = []


class Level(msgspec.Struct, rename="camel"):
    """One way of load with its rounds. A closed loop has `concurrency`, an open one `rate` requests a second."""

    concurrency: int | None
    rate: float | None
    rounds: list[RoundFigures] = []
    shape: list[tuple[float, float]] = []
    limit: float | None = None

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.concurrency} at a time" if self.rate is None else f"{self.rate:g}/s"

    @property
    def typical(self) -> RoundFigures:
        """The round with the median throughput."""
        return sorted(self.rounds, key=lambda each: each.throughput)[len(self.rounds) // 2]

    @property
    def throughput(self) -> Spread:
        """Over the rounds."""
        return spread([each.throughput for each in self.rounds])

    def latency(self, name: str) -> Spread | None:
        """A percentile over the rounds; None when no request was answered."""
        values = [each.latency[name] for each in self.rounds if name in each.latency]
        return spread(values) if values else None

    @property
    def failures(self) -> dict[str, int]:
        """Of all rounds, by kind."""
        total: dict[str, int] = {}
        for each in self.rounds:
            for kind, count in each.failures.items():
                total[kind] = total.get(kind, 0) + count
        return total

    @property
    def requests(self) -> int:
        """Of all rounds."""
        return sum(each.requests for each in self.rounds)

    @property
    def of_limit(self) -> float | None:
        """The part of what the model alone could do."""
        return self.throughput.median / self.limit if self.limit else None


class Limit(msgspec.Struct, frozen=True, rename="camel"):
    """The handler alone: `rows_per_second` of `workers` processes at once, by batch size, offline."""

    workers: int
    threads: int
    rows_per_second: dict[str, float]


class Report(msgspec.Struct, rename="camel", kw_only=True):
    """All of it. `stopped`: why the bench ended before its time; `notes`: what a reader should know."""

    format: int = FORMAT
    made: str
    tool: str
    machine: dict[str, Any]
    model: dict[str, Any]
    target: str
    input: str
    warmup: float
    duration: float | None
    count: int | None
    start_seconds: float | None = None
    ceiling: dict[str, float] = {}
    limit: Limit | None = None
    levels: list[Level] = []
    notes: list[str] = []
    stopped: str | None = None

    @property
    def measured(self) -> list[Level]:
        """Levels with at least one round."""
        return [level for level in self.levels if level.rounds]

    @property
    def has_failures(self) -> bool:
        """Whether any measured request failed."""
        return any(level.failures for level in self.measured)


def read(path: Path) -> Report:
    """Of a file, or of the folder that `--report` filled. Raises NotFound, NoReport."""
    file = path / "report.json" if path.is_dir() else path
    if not file.is_file():
        raise NotFound(f"there is no report {file}")
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        raise NoReport(f"{file} is no report of `archive bench`: {error}") from error
    if report.format != FORMAT:
        raise NoReport(f"{file} has format {report.format}; this version reads {FORMAT}")
    return report


def plain(report: Report) -> dict[str, Any]:
    """For JSON, with each level's medians beside its rounds."""
    document: dict[str, Any] = msgspec.to_builtins(report)
    for level, found in zip(document["levels"], report.levels, strict=True):
        if found.rounds:
            level["median"] = _median(found)
    return document


def _median(level: Level) -> dict[str, Any]:
    names = list(level.rounds[0].latency)
    latency = {name: msgspec.to_builtins(value) for name in names if (value := level.latency(name)) is not None}
    return {
        "name": level.name,
        "throughput": msgspec.to_builtins(level.throughput),
        "latency": latency,
        "requests": level.requests,
        "failures": level.failures,
        "ofLimit": level.of_limit,
    }
