"""The report as one HTML file with nothing beside it. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.side_by_side.report import bars, sentences, tables
from benchmarks.side_by_side.report.figures import Results
from runner.bench.render.page import document, table


def page(results: Results) -> str:
    title = "torch-archive beside other servers"
    return document(title, "".join(_body(results, title)))


def _body(results: Results, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1><p>{escape(sentences.setting(results))}</p>"
    yield f"<p>{escape(sentences.workloads(results))}</p><p>{escape(sentences.steadiness(results))}</p>"
    counts = sorted({column.connections for column in results.columns(workers=1)})
    yield from (_picture(bars.chart(results, connections)) for connections in reversed(counts))
    for each in tables.of(results):
        yield f"<h2>{escape(each.title)}</h2><p>{escape(each.told)}</p>{table(each.heads, each.rows)}"
    yield from _listed("Where torch-archive is not ahead", sentences.shortfalls(results) or ["Nowhere in this run."])
    yield from _listed("Not measured", sentences.not_measured(results))


def _picture(svg: str) -> str:
    """As an image of its own: its style stays inside."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<figure class="wide"><img alt="" src="data:image/svg+xml;base64,{data}"></figure>'


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
