"""The report as Markdown: the README's block and REPORT.md's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.side_by_side.report import sentences, tables
from benchmarks.side_by_side.report.figures import Results
from benchmarks.side_by_side.report.tables import Table


def readme_block(results: Results, chart: str) -> str:
    """`chart`: its path from the README."""
    table = tables.throughput(results, workers=1)
    parts = [sentences.setting(results), f"![Requests per second of each server]({chart})", _table(table)]
    missing = sentences.not_measured(results)
    return "\n\n".join([*parts, _list(missing)] if missing else parts)


def report_block(results: Results, chart: str) -> str:
    """`chart`: its path from REPORT.md."""
    return "\n\n".join(_parts(results, chart))


def _parts(results: Results, chart: str) -> Iterator[str]:
    yield sentences.setting(results)
    yield f"{sentences.workloads(results)} {sentences.steadiness(results)}"
    yield f"![Requests per second]({chart})"
    for table in tables.of(results):
        yield f"## {table.title}"
        if table.told:
            yield table.told
        yield _table(table)
    for title, lines in sentences.lists(results):
        yield f"## {title}"
        yield _list(lines)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [f"| {' | '.join(table.heads)} |", "|---" * len(table.heads) + "|"]
    for number, row in enumerate(table.rows):
        cells = (f"**{cell}**" if (number, at) in table.best else cell for at, cell in enumerate(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
