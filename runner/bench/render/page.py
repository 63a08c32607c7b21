"""A report as one HTML file with nothing beside it: tables, charts as inline SVG. For screens, phones and paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from runner.bench.render.chart import Axis, Series, chart, linear, logarithmic
from runner.bench.render.table import HEADS, SERVER_HEADS, facts, rows, server_rows
from runner.bench.report import Level, Report

_STYLE = """
:root{--ink:#1b1f24;--soft:#59636e;--paper:#fff;--rule:#d5dae0;--c0:#1f6feb;--c1:#d1570a;--c2:#1a7f37;--c3:#8250df;
--c4:#bf3989;--c5:#7d6300}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--paper:#0e1217;--rule:#343c46;--c0:#58a6ff;
--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;--c4:#f778ba;--c5:#d6b429}}
@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--rule:#bbb;--c0:#0a4fbf;--c1:#b14700;--c2:#116329;
--c3:#6639ba;
--c4:#99286e;--c5:#5f4b00}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:1.2rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.8rem 0 .4rem}
p,figcaption{color:var(--soft);margin:.2rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.8rem 0}dt{color:var(--soft)}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}th{color:var(--soft);font-weight:500}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(28rem,100%),1fr));gap:1.2rem}
figure{margin:0}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--rule);stroke-width:1;fill:none}.line{fill:none;stroke-width:2;stroke-linejoin:round}
@media(max-width:36rem){svg text{font-size:16px}}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;padding:0;margin:.4rem 0}
.key i{display:inline-block;width:.9rem;height:.25rem;vertical-align:middle;margin-right:.4rem;border-radius:2px}
.stopped{color:var(--c1);font-weight:600}
@media print{figure,tr{break-inside:avoid}h2{break-after:avoid}body{padding:0;max-width:none;font-size:12px}
.wide{overflow:visible}table{font-size:10px}th,td{padding:.15rem .45rem}
.charts{grid-template-columns:1fr 1fr}svg text{font-size:17px}}
"""
#: Where the percentiles of a distribution stand: each further nine as far as the one before.
_NINES = ((50.0, "50 %"), (90.0, "90 %"), (99.0, "99 %"), (99.9, "99.9 %"), (99.99, "99.99 %"))
_LAST = 99.995


def page(report: Report) -> str:
    """The whole document."""
    title = f"{report.model.get('name') or report.target} under load"
    return document(title, "".join(_body(report, title)))


def document(title: str, body: str, style: str = "") -> str:
    """A page of ours: the body's markup in the style of all reports. `style`: rules of this page alone."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{escape(title)}</title>'
        f"<style>{_STYLE}{_colours()}{style}</style></head>\n<body>{body}</body></html>\n"
    )


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
    yield key([level.name for level in report.measured])
    yield f'<div class="charts">{"".join(_charts(report.measured))}</div>'
    server = server_rows(report)
    if server:
        told = "Its own account of the median round: means in milliseconds, the handler's per batch."
        yield f"<h2>Server</h2><p>{told}</p>"
        yield table(SERVER_HEADS, server)
    if report.notes:
        yield f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in report.notes)}</ul>"


def facts_list(told: Sequence[tuple[str, str]]) -> str:
    """Names with their sentences."""
    named = "".join(f"<dt>{escape(name)}</dt><dd>{escape(sentence)}</dd>" for name, sentence in told)
    return f"<dl>{named}</dl>"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markup of plain cells; it scrolls where it is wider than the page."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def key(names: Sequence[str]) -> str:
    """Which colour of the charts is whose."""
    items = (f'<li><i class="s{number % 6}"></i>{escape(name)}</li>' for number, name in enumerate(names))
    return f'<ul class="key">{"".join(items)}</ul>'


def _charts(levels: Sequence[Level]) -> Iterator[str]:
    yield figure(
        _distribution(levels), "How slow the slowest are: so many percent of the requests took at most so long."
    )
    yield figure(_trade(levels), "What each level gives and costs: a dot is the p99 of one round.")
    yield figure(_timeline(levels, latency=False), "Answers a second over the median round.")
    yield figure(_timeline(levels, latency=True), "The p99 of each moment over the median round.")
    if any(level.typical.batches for level in levels):
        yield figure(_batches(levels), "Rows of the server's batches over the median round.")
    if any(level.typical.server for level in levels):
        yield figure(_sizes(levels), "So many percent of the median round's batches had at most so many rows.")


def figure(svg: str, told: str) -> str:
    """A chart with the sentence that says how to read it."""
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


def _batches(levels: Sequence[Level]) -> str:
    drawn = [Series(level.name, number, level.typical.batches) for number, level in enumerate(levels)]
    every = [point for each in drawn for point in each.points]
    x, y = linear("seconds", [at for at, _ in every]), linear("rows of a batch", [rows for _, rows in every])
    return chart("Batch sizes over time", x, y, drawn)


def _sizes(levels: Sequence[Level]) -> str:
    drawn = [
        Series(level.name, number, list(_upto(level.typical.server.batch_sizes)))
        for number, level in enumerate(levels)
        if level.typical.server is not None
    ]
    x = logarithmic("rows of a batch", [bound for each in drawn for bound, _ in each.points])
    return chart("Batch sizes", x, linear("percent of batches", [100.0]), drawn)


def _upto(sizes: Mapping[str, int]) -> Iterator[tuple[float, float]]:
    """Upper bounds with the percent of batches up to them, from nothing on."""
    whole, below = sum(sizes.values()), 0
    for bound, count in sorted(((float(bound), count) for bound, count in sizes.items())):
        if math.isinf(bound):
            return
        yield bound, below / whole * 100
        below += count
        yield bound, below / whole * 100
