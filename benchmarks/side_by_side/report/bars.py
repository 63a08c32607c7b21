"""The chart: requests per second of every server as bars, a panel per workload. One SVG that stands alone. Pure.

It brings its own paper and follows the reader's colour scheme, so that it is legible wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.side_by_side.report.figures import Column, Results
from benchmarks.side_by_side.report.sentences import many
from benchmarks.side_by_side.servers import OURS
from runner.bench.figures import Spread
from runner.bench.render.table import rate

_STYLE = """
.paper{fill:#fff}text{font:13px system-ui,sans-serif;fill:#1b1f24}.soft{fill:#59636e;font-size:12px}
.end{text-anchor:end}.value{paint-order:stroke;stroke:#fff;stroke-width:4}.head{font-weight:600}.bar{fill:#8c959f}.ours{fill:#1f6feb}
.spread{stroke:#1b1f24;stroke-width:1.5}.limit{stroke:#d1570a;stroke-width:1.5;stroke-dasharray:4 3}
@media(prefers-color-scheme:dark){.paper{fill:#0e1217}.value{stroke:#0e1217}text{fill:#e6edf3}.soft{fill:#9aa4af}.bar{fill:#6e7681}
.ours{fill:#58a6ff}.spread{stroke:#e6edf3}.limit{stroke:#f0883e}}
"""
_NAMES, _PANEL, _GAP, _LABEL = 144, 206, 26, 62
_TOP, _ROW, _BAR, _FOOT = 86, 26, 15, 38


@dataclass(frozen=True, slots=True)
class Bar:
    """A server's figure; None where there is none."""

    name: str
    value: Spread | None
    ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """`limit`: where the dashed line stands, if there is one."""

    title: str
    told: str
    bars: tuple[Bar, ...]
    limit: float | None


def chart(results: Results, connections: int) -> str:
    """All workloads with one worker at so many connections."""
    columns = [column for column in results.columns(workers=1) if column.connections == connections]
    panels = [_panel(results, column) for column in columns]
    title = f"Requests per second at {many(connections, 'connection')}, one worker with one thread"
    return drawn(title, panels)


def drawn(title: str, panels: Sequence[Panel]) -> str:
    rows = max((len(panel.bars) for panel in panels), default=0)
    width, height = _NAMES + len(panels) * (_PANEL + _GAP), _TOP + rows * _ROW + _FOOT
    parts = [f'<rect class="paper" width="{width}" height="{height}" rx="6"/>', _text(16, 24, title, "head")]
    if panels:
        parts += [_text(_NAMES - 10, _middle(row), bar.name, "end") for row, bar in enumerate(panels[0].bars)]
    for place, panel in enumerate(panels):
        parts += _of_panel(panel, _NAMES + place * (_PANEL + _GAP), rows)
    parts.append(
        _text(
            16, height - 12, "thin line: lowest to highest round; dashed: the same code in a loop, no server", "soft"
        )
    )
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(title)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{_STYLE}</style>{"".join(parts)}</svg>\n'


def _panel(results: Results, column: Column) -> Panel:
    bars = tuple(
        Bar(server.title, results.throughput(server.name, column), server.name == OURS) for server in results.servers
    )
    most = max((bar.value.high for bar in bars if bar.value is not None), default=0.0)
    limit = results.limit(column)
    shown = limit.median if limit is not None and limit.median <= 1.1 * most else None
    return Panel(column.cell.workload, column.cell.what.told, bars, shown)


def _of_panel(panel: Panel, left: int, rows: int) -> Iterator[str]:
    most = max([bar.value.high for bar in panel.bars if bar.value is not None] + [panel.limit or 0.0], default=0.0)
    scale = (_PANEL - _LABEL) / most if most else 0.0
    yield _text(left, _TOP - 28, panel.title, "head")
    yield _text(left, _TOP - 10, panel.told, "soft")
    if panel.limit is not None:
        at = left + panel.limit * scale
        yield f'<path class="limit" d="M{at:.1f} {_TOP - 2}V{_TOP + rows * _ROW}"/>'
    for row, bar in enumerate(panel.bars):
        yield from _of_bar(bar, left, row, scale)


def _of_bar(bar: Bar, left: int, row: int, scale: float) -> Iterator[str]:
    top, middle = _TOP + row * _ROW + (_ROW - _BAR) / 2, _TOP + row * _ROW + _ROW / 2
    if bar.value is None:
        yield _text(left, _middle(row), "not measured", "soft")
        return
    width = max(bar.value.median * scale, 1.0)
    kind = "ours" if bar.ours else "bar"
    yield f'<rect class="{kind}" x="{left}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
    low, high = (left + value * scale for value in (bar.value.low, bar.value.high))
    yield f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}"/>'
    yield _text(
        max(left + width, high) + 6, _middle(row), rate(bar.value.median), "value head" if bar.ours else "value"
    )


def _middle(row: int) -> float:
    return _TOP + row * _ROW + _ROW / 2 + 4.5


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'
