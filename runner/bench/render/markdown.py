"""For a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.bench.render.table import HEADS, SERVER_HEADS, facts, rows, server_rows
from runner.bench.report import Report


def markdown(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {report.model.get('name') or report.target}, {report.made}"
    yield ""
    for name, sentence in facts(report):
        yield f"- {name}: {sentence}"
    yield from part("Load", "Medians of the rounds; latencies in milliseconds.", HEADS, rows(report))
    server = server_rows(report)
    if server:
        told = "The server's own account of the median round: means in milliseconds, the handler's per batch."
        yield from part("Server", told, SERVER_HEADS, server)
    if report.notes or report.stopped:
        yield ""
        yield from (f"- {sentence}" for sentence in [*report.notes, *([report.stopped] if report.stopped else [])])


def part(title: str, told: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """A section with a table."""
    yield from ("", f"## {title}", "", told, "", _line(heads), "|" + "---|" * len(heads))
    yield from map(_line, lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
