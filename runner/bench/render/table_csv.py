"""For a spreadsheet: one line per round; and TorchServe's `ab_report.csv`, one line per level, its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from runner.bench.figures import PERCENTILES
from runner.bench.report import Level, Processes, Report, RoundFigures

_MEGABYTE = 1 << 20
_QUANTILES = ("p50", "p90", "p99")


def rounds_csv(report: Report) -> str:
    """Latencies in milliseconds, memory in bytes."""
    return csv_text(
        [_round(level, number, each) for level in report.measured for number, each in enumerate(level.rounds)]
    )


def _round(level: Level, number: int, figures: RoundFigures) -> dict[str, Any]:
    server, processes = figures.server, figures.processes
    return {
        "concurrency": level.concurrency,
        "rate": level.rate,
        "round": number + 1,
        "throughput": round(figures.throughput, 3),
        "requests": figures.requests,
        "failed": sum(figures.failures.values()),
        **{name: figures.latency.get(name) for name in [*PERCENTILES, "mean", "max"]},
        "queue_ms": server and server.queue_ms,
        "handler_ms": server and server.handler_ms,
        "mean_batch": server and server.mean_batch,
        "cores": processes and processes.cores,
        "rss": processes and processes.rss,
        "pss": processes and processes.pss,
        "gpu_percent": processes and processes.gpu_percent,
        "load_average": figures.load_average,
    }


def ab_report_csv(reports: Sequence[Report]) -> str:
    """As TorchServe's benchmark writes it. Latencies are whole milliseconds there, fractions here."""
    return csv_text([_as_torchserve(report, level) for report in reports for level in report.measured])


def _as_torchserve(report: Report, level: Level) -> dict[str, Any]:
    failed, model = sum(level.failures.values()), report.model
    server = [each.server for each in level.rounds if each.server is not None]
    processes = [each.processes for each in level.rounds if each.processes is not None]
    handler = _mean([each.handler_ms for each in server])
    return {
        "version": report.tool,
        "Benchmark": "archive bench",
        "Batch size": model.get("batchSize"),
        "Batch delay": model.get("maxBatchDelay"),
        "Workers": model.get("workers"),
        "Model": model.get("archive") or model.get("name"),
        "Concurrency": level.concurrency,
        "Requests": level.requests,
        "TS failed requests": failed,
        "TS throughput": round(level.throughput.median, 3),
        **{f"TS latency {name.upper()}": _latency(level, name) for name in _QUANTILES},
        "TS latency mean": _latency(level, "mean"),
        "TS error rate": round(100 * failed / level.requests, 4) if level.requests else 0.0,
        **{f"Model_{name}": _mean([each.handler_quantiles_ms[name] for each in server]) for name in _QUANTILES},
        "predict_mean": _mean([each.request_ms for each in server]),
        "handler_time_mean": handler,
        "waiting_time_mean": _mean([each.queue_ms for each in server]),
        "worker_thread_mean": _mean([each.other_ms for each in server]),
        **_of_processes(processes, report.machine),
    }


def _of_processes(processes: Sequence[Processes], machine: Mapping[str, Any]) -> dict[str, Any]:
    gpus = [each for each in processes if each.gpu_percent is not None]
    used = _mean([each.gpu_bytes / _MEGABYTE for each in gpus if each.gpu_bytes is not None])
    return {
        "cpu_percentage_mean": _mean([100 * each.cores / machine["cores"] for each in processes]),
        "memory_percentage_mean": _mean(
            [100 * (each.pss or each.rss) / machine["memoryBytes"] for each in processes]
        ),
        "gpu_percentage_mean": _mean([each.gpu_percent for each in gpus if each.gpu_percent is not None]),
        "gpu_memory_percentage_mean": None,
        "gpu_memory_used_mean": used,
    }


def _latency(level: Level, name: str) -> float | None:
    value = level.latency(name)
    return None if value is None else round(value.median, 3)


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 3) if values else None


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """A heading of the first line's keys, and the lines; empty for none."""
    if not lines:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
