"""A report as a page: tables, charts as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from runner.bench.render.chart import Axis, Series, chart, linear, logarithmic
from runner.bench.render.document import document, facts_list, table
from runner.bench.render.table import HEADS, SERVER_HEADS, facts, rows, server_rows
from runner.bench.report import Level, Report

#: Where the percentiles of a distribution stand: each further nine as far as the one before.
_NINES = ((50.0, "50 %"), (90.0, "90 %"), (99.0, "99 %"), (99.9, "99.9 %"), (99.99, "99.99 %"))
_LAST = 99.995


def page(report: Report) -> str:
    """The whole document."""
    title = f"{report.model.get('name') or report.target} under load"
    return document(title, _body(report, title), _colours())


def _colours() -> str:
    rule = "path.s{0}{{stroke:var(--c{0})}}circle.s{0}{{fill:var(--c{0})}}i.s{0}{{background:var(--c{0})}}"
    return "".join(rule.format(number) for number in range(6))


def _body(report: Report, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1><p>{escape(report.made)}, {escape(report.tool)}</p>"
    if report.stopped:
        yield f'<p class="stopped">Ended early: {escape(report.stopped)}</p>'
    yield facts_list(facts(report))
    told = "Medians of the rounds; latencies in milliseconds, from the moment a request was meant to be sent."
    yield f"<h2>Load</h2><p>{told}</p>"
    yield table(HEADS, rows(report))
    yield _key(report.measured)
    yield f'<div class="charts">{"".join(_charts(report.measured))}</div>'
    server = server_rows(report)
    if server:
        told = "Its own account of the median round: means in milliseconds, the handler's per batch."
        yield f"<h2>Server</h2><p>{told}</p>"
        yield table(SERVER_HEADS, server)
    if report.notes:
        yield f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in report.notes)}</ul>"


def _key(levels: Sequence[Level]) -> str:
    items = (f'<li><i class="s{number % 6}"></i>{escape(each.name)}</li>' for number, each in enumerate(levels))
    return f'<ul class="key">{"".join(items)}</ul>'


def _charts(levels: Sequence[Level]) -> Iterator[str]:
    yield _figure(
        _distribution(levels), "How slow the slowest are: so many percent of the requests took at most so long."
    )
    yield _figure(_trade(levels), "What each level gives and costs: a dot is the p99 of one round.")
    yield _figure(_timeline(levels, latency=False), "Answers a second over the median round.")
    yield _figure(_timeline(levels, latency=True), "The p99 of each moment over the median round.")


def _figure(svg: str, told: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(told)}</figcaption></figure>"


def _distribution(levels: Sequence[Level]) -> str:
    x = Axis("percent of requests", 0.0, _LAST, _NINES, lambda percent: -math.log10(1 - min(percent, _LAST) / 100))
    drawn = [Series(each.name, number, each.shape) for number, each in enumerate(levels)]
    y = logarithmic("milliseconds", [value for each in levels for _, value in each.shape])
    return chart("Latency by percentile", x, y, drawn)


def _trade(levels: Sequence[Level]) -> str:
    points = [[(each.throughput, each.latency["p99"]) for each in level.rounds if each.latency] for level in levels]
    every = [point for each in points for point in each]
    x, y = linear("requests/s", [one for one, _ in every]), logarithmic("p99 in ms", [other for _, other in every])
    drawn = [Series(each.name, number, points[number], dots=True) for number, each in enumerate(levels)]
    return chart("Throughput against latency", x, y, drawn)


def _timeline(levels: Sequence[Level], *, latency: bool) -> str:
    drawn = []
    for number, level in enumerate(levels):
        told = [(each.at, each.p99 if latency else each.throughput) for each in level.typical.timeline]
        drawn.append(Series(level.name, number, [(at, value) for at, value in told if value is not None]))
    every = [point for each in drawn for point in each.points]
    values = [value for _, value in every]
    y = logarithmic("p99 in ms", values) if latency else linear("requests/s", values)
    return chart("Over time", linear("seconds", [at for at, _ in every]), y, drawn)
