"""The outcome of `archive optimize` as lines for people and as plain values for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archiver.cli import console
from runner.offline.optimize import Column, Outcome

_FIRST, _WIDTH = 18, 24


def lines(outcome: Outcome) -> Iterator[str]:
    """Columns side by side, then what became of the weights and what runs."""
    yield " " * _FIRST + "".join(console.bold(f"{each.name:<{_WIDTH}}") for each in outcome.columns)
    for name, cells in _rows(outcome.columns):
        yield _row(name, "".join(f"{cell:<{_WIDTH}}" for cell in cells).rstrip())
    for each in outcome.weights:
        sizes = f"{console.size(each.before.size)} → {console.size(each.after.size)}"
        yield _row("weights", f"{each.before.name}: {sizes}, {each.told}")
    if outcome.compiled:
        yield _row("compiled code", console.size(outcome.compiled))
    for line in outcome.columns[-1].lines:
        yield _row("runs", line)


def _row(name: str, text: str) -> str:
    return f"{name:<{_FIRST}}{text}"


def _rows(columns: Sequence[Column]) -> Iterator[tuple[str, list[str]]]:
    batches = [*columns[0].milliseconds]
    yield "archive", [console.size(each.size) for each in columns]
    yield "load", [f"{each.load:.1f} s" for each in columns]
    for batch in batches:
        yield f"batch {batch}", [f"{each.milliseconds[batch]:.2f} ms" for each in columns]
    largest = batches[-1]
    yield "rows per second", [f"{largest * 1000 / each.milliseconds[largest]:.0f}" for each in columns]
    yield "peak memory", [console.size(each.peak) for each in columns]
    verdicts = [each.verdict for each in columns]
    yield "cosine", ["-" if each is None else f"{each.cosine:.6f}" for each in verdicts]
    yield "largest error", ["-" if each is None else f"{each.max_abs_error:.3g}" for each in verdicts]
    if any(each is not None and each.top1 is not None for each in verdicts):
        yield (
            "same top class",
            ["-" if each is None or each.top1 is None else f"{each.top1:.0%}" for each in verdicts],
        )


def plain(outcome: Outcome) -> dict[str, Any]:
    """For --json. Sizes in bytes, times in seconds and milliseconds."""
    return {
        "path": None if outcome.target is None else str(outcome.target),
        "columns": [_plain(each) for each in outcome.columns],
        "weights": [
            {"file": each.before.name, "becomes": each.after.name, "size": each.after.size, "told": each.told}
            for each in outcome.weights
        ],
        "compiledSize": outcome.compiled,
    }


def _plain(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "size": column.size,
        "loadSeconds": round(column.load, 3),
        "peakMemory": column.peak,
        "milliseconds": {str(batch): round(ms, 4) for batch, ms in column.milliseconds.items()},
        "accuracy": None if column.verdict is None else column.verdict.measured(),
        "lines": list(column.lines),
    }
