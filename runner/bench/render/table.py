"""The rows that the terminal, Markdown and the page show: one per level, the same figures everywhere."""

from __future__ import annotations

from archiver.cli import console
from runner.bench.figures import Spread
from runner.bench.report import Level, Processes, Report

HEADS = ("load", "requests/s", "± of rounds", "p50", "p90", "p95", "p99", "p99.9", "failed", "of limit")
_PHASES = ("preprocess", "inference", "postprocess")
SERVER_HEADS = ("load", "queue", *_PHASES, "handler", "other", "batch", "cores", "memory", "GPU")
COMPARED_HEADS = ("load", "figure", "before", "after", "change for the better", "")
_NAMES = ("p50", "p90", "p95", "p99", "p99.9")
NOTHING = "-"


def rows(report: Report) -> list[tuple[str, ...]]:
    """Latencies in milliseconds, medians of the rounds."""
    return [_row(level) for level in report.measured]


def _row(level: Level) -> tuple[str, ...]:
    latencies = [NOTHING if (value := level.latency(name)) is None else ms(value.median) for name in _NAMES]
    share = NOTHING if level.of_limit is None else f"{level.of_limit:.2f}"
    failed = str(sum(level.failures.values()))
    return (level.name, rate(level.throughput.median), apart(level.throughput), *latencies, failed, share)


def server_rows(report: Report) -> list[tuple[str, ...]]:
    """What the server says: milliseconds of the median round; cores and memory of its processes."""
    return [row for level in report.measured if (row := _server_row(level)) is not None]


def _server_row(level: Level) -> tuple[str, ...] | None:
    server = level.typical.server
    if server is None:
        return None
    phases = [ms(server.phases_ms[name]) if name in server.phases_ms else NOTHING for name in _PHASES]
    times = (ms(server.queue_ms), *phases, ms(server.handler_ms), ms(max(server.other_ms, 0.0)))
    return (level.name, *times, f"{server.mean_batch:.1f}", *_taken(level.typical.processes))


def _taken(processes: Processes | None) -> tuple[str, str, str]:
    """Cores, memory, and the GPUs' part of the time with their memory."""
    if processes is None:
        return (NOTHING, NOTHING, NOTHING)
    gpu = NOTHING
    if processes.gpu_percent is not None and processes.gpu_bytes is not None:
        gpu = f"{processes.gpu_percent:.0f}%, {console.size(processes.gpu_bytes)}"
    return (f"{processes.cores:.2f}", console.size(processes.pss or processes.rss), gpu)


def facts(report: Report) -> list[tuple[str, str]]:
    """What was measured, where and how, as name and sentence."""
    model, machine = report.model, report.machine
    what = [("model", _model(model)), ("input", report.input)]
    if report.start_seconds is not None:
        what.append(("start", f"{report.start_seconds:.2f} s from the command to the first answer"))
    if report.limit is not None:
        speeds = ", ".join(f"{rate(each)}/s at batch {size}" for size, each in report.limit.rows_per_second.items())
        what.append(("limit", f"the handler alone, offline: {speeds}"))
    if report.ceiling:
        ceilings = ", ".join(f"{rate(each)}/s at {size}" for size, each in report.ceiling.items())
        what.append(("generator", f"its own ceiling, by connections to a server with nothing behind it: {ceilings}"))
    where = f"{machine['processor']}, {machine['cores']} cores, load average {machine['loadAverage']:g} before"
    return [*what, ("machine", where)]


def _model(model: dict[str, object]) -> str:
    name = " ".join(str(model[key]) for key in ("name", "version") if model.get(key))
    if not model.get("device"):
        return name or "unknown"
    size = f"{_many(model['workers'], 'worker')} × {_many(model['threads'], 'thread')} on {model['device']}"
    return f"{name}, {size}, batches up to {model['batchSize']}"


def _many(count: object, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def ms(value: float) -> str:
    """Milliseconds with three digits that count."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def figure(value: float) -> str:
    """Any figure with three digits that count."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def apart(of: Spread) -> str:
    """How far the rounds lie from their median, in percent of it."""
    if not of.median:
        return NOTHING
    return f"{max(of.high - of.median, of.median - of.low) / of.median:.0%}"
