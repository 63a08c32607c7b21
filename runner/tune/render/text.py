"""For the terminal: a rich table there, the same columns as plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from runner.bench.render.text import tables
from runner.tune.render.rows import ALONE_HEADS, HEADS, alone_rows, facts, out_lines, reason_lines, rows, verdict
from runner.tune.report import TuneReport


def text(report: TuneReport) -> str:
    """Facts, models alone, candidates, why others are out, and the recommendation."""
    named = "\n".join(f"{name:<10}{sentence}" for name, sentence in facts(report))
    shown = tables([(heads, lines) for heads, lines in _tables(report) if lines])
    return "\n\n".join(part for part in (named, shown, "\n".join(_told(report))) if part)


def _tables(report: TuneReport) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    yield ALONE_HEADS, alone_rows(report)
    yield HEADS, rows(report)


def _told(report: TuneReport) -> Iterator[str]:
    yield from out_lines(report)
    yield from (f"note: {sentence}" for sentence in report.notes)
    yield ""
    chosen = report.chosen
    yield f"{'best' if chosen is not None and chosen.met else 'result'}      {verdict(report)}"
    if chosen is not None:
        yield from (f"          {line}" for line in reason_lines(chosen))
        yield ""
        yield chosen.yaml.rstrip()
