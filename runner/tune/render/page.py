"""A tuning as one HTML file with nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from runner.bench.render.chart import Series, chart, linear, logarithmic
from runner.bench.render.page import document, figure, key, table
from runner.tune.render.rows import ALONE_HEADS, HEADS, alone_rows, facts, out_lines, reason_lines, rows, verdict
from runner.tune.report import Tried, TuneReport

#: As many as there are colours.
_DRAWN = 6


def page(report: TuneReport) -> str:
    """The whole document."""
    title = f"{report.model['name']} tuned"
    return document(title, "".join(_body(report, title)))


def _body(report: TuneReport, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1><p>{escape(report.made)}, {escape(report.tool)}</p>"
    if report.stopped:
        yield f'<p class="stopped">Ended early: {escape(report.stopped)}</p>'
    named = "".join(f"<dt>{escape(name)}</dt><dd>{escape(sentence)}</dd>" for name, sentence in facts(report))
    yield f"<dl>{named}</dl><h2>Result</h2><p>{escape(verdict(report))}</p>"
    if report.chosen is not None:
        yield _list(reason_lines(report.chosen))
        yield f'<div class="wide"><pre>{escape(report.chosen.yaml)}</pre></div>'
    yield "<h2>Candidates</h2><p>The best first, at the level that counts; latencies in milliseconds.</p>"
    yield table(HEADS, rows(report))
    drawn = report.measured[:_DRAWN]
    if drawn:
        yield key([each.candidate.name for each in drawn])
        told = "What each candidate gives and costs: a dot is a level of its longest trial."
        yield f'<div class="charts">{figure(_trade(drawn), told)}</div>'
    yield f"<h2>Not measured</h2>{_list(out_lines(report))}"
    yield "<h2>Without a server</h2><p>One process with the model; milliseconds of the whole handler.</p>"
    yield table(ALONE_HEADS, alone_rows(report))
    if report.notes:
        yield f"<h2>Notes</h2>{_list(report.notes)}"


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _trade(drawn: Sequence[Tried]) -> str:
    points = [sorted((reading.throughput, reading.p99) for reading in each.readings) for each in drawn]
    every = [point for each in points for point in each]
    x, y = linear("requests/s", [one for one, _ in every]), logarithmic("p99 in ms", [other for _, other in every])
    series = [Series(each.candidate.name, number, points[number], dots=True) for number, each in enumerate(drawn)]
    return chart("Throughput against latency", x, y, series)
