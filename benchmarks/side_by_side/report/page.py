"""The report as one HTML file with nothing beside it. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

from benchmarks.side_by_side.report import bars, sentences, tables
from benchmarks.side_by_side.report.figures import Results
from runner.bench.render.page import document, table


def page(results: Results) -> str:
    title = "torch-archive beside other servers"
    return document(title, "".join(_body(results, title)))


def _body(results: Results, heading: str) -> Iterator[str]:
    yield f"<h1>{escape(heading)}</h1><p>{escape(sentences.setting(results))}</p>"
    yield f"<p>{escape(sentences.workloads(results))}</p><p>{escape(sentences.steadiness(results))}</p>"
    counts = sorted({column.connections for column in results.columns(workers=1)})
    yield from (_picture(bars.chart(results, connections)) for connections in reversed(counts))
    for each in tables.of(results):
        yield f"<h2>{escape(each.title)}</h2><p>{escape(each.told)}</p>{table(each.heads, each.rows)}"
    for title, lines in sentences.lists(results):
        yield f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _picture(svg: str) -> str:
    """As an image of its own: its style stays inside."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<figure class="wide"><img alt="" src="data:image/svg+xml;base64,{data}"></figure>'
