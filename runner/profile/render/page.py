"""A profile as a page: what to change, tables, and the call tree as a flame that a click opens."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from runner.bench.render.page import document, facts_list, table
from runner.bench.render.table import ms
from runner.profile.figures import COPYING, MATRIX, OTHER, Figures, kind_of
from runner.profile.render.text import flame_lines
from runner.profile.render.words import (
    STAGE_HEADS,
    batch_note,
    facts,
    no_gain,
    operator_heads,
    operator_rows,
    percent,
    short,
    stage_rows,
)
from runner.profile.report import Profile, Tried
from runner.profile.tree import Branch

#: Parts of a batch that are too narrow to draw.
_LEAST = 0.001
_ROW = 1.6
_COLOURS = {MATRIX: 0, COPYING: 1, OTHER: 2}
_STAGE, _MODULE = 3, 5
_STYLE = """
.flame{position:relative;font-size:13px;overflow:hidden;border-radius:3px}
.flame div{position:absolute;height:1.5rem;line-height:1.5rem;padding:0 .3rem;overflow:hidden;white-space:nowrap;
text-overflow:clip;cursor:pointer;border-right:1px solid var(--paper);print-color-adjust:exact;
-webkit-print-color-adjust:exact}.flame div[hidden]{display:none}
#told{min-height:1.5em}li pre{margin:.2rem 0}pre{overflow-x:auto;font-size:13px;color:var(--ink)}
ol{padding-left:1.2rem}li{margin:.5rem 0}li p{margin:0}
.wide :is(td,th):nth-child(n+5):last-child{text-align:left}td:first-child{white-space:pre}
@media(max-width:36rem){td:first-child{white-space:pre-wrap;overflow-wrap:anywhere;min-width:9rem}}
@media print{.flame{break-inside:avoid}td:last-child{white-space:normal}details{display:none}}
.key i{height:.7rem}details{margin:.8rem 0}summary{color:var(--soft);cursor:pointer}
"""
_SCRIPT = """
const flame=document.getElementById('flame'),told=document.getElementById('told'),every=[...flame.children];
const open=one=>{const l=+one.dataset.l,w=+one.dataset.w;for(const each of every){const a=+each.dataset.l,
x=Math.max(a,l),y=Math.min(a+ +each.dataset.w,l+w);each.hidden=y-x<w*1e-4;each.style.left=(x-l)/w*100+'%';
each.style.width=(y-x)/w*100+'%'}};
const of=event=>event.target.closest('[data-l]');
flame.onclick=event=>{const one=of(event);if(one){open(one);told.textContent=one.title}};
flame.onmouseover=event=>{const one=of(event);if(one)told.textContent=one.title};
"""


def page(report: Profile) -> str:
    """The whole document."""
    title = f"Where a batch of {report.model['name']} goes"
    return document(title, "".join(_body(report, title)), _STYLE + _colours())


def _colours() -> str:
    mixed = "color-mix(in srgb,var(--c{0}) 32%,var(--paper))"
    return "".join(f".k{n}{{background:{mixed.format(n)}}}" for n in (*_COLOURS.values(), _STAGE, _MODULE))


def _body(report: Profile, title: str) -> Iterator[str]:
    figures = report.figures
    yield f"<h1>{escape(title)}</h1><p>{escape(report.made)}, {escape(report.tool)}</p>"
    if report.stopped:
        yield f'<p class="stopped">Ended early: {escape(report.stopped)}</p>'
    yield facts_list(facts(report))
    yield "<h2>What would change it</h2>"
    yield from _changes(report)
    if report.notes:
        yield f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in report.notes)}</ul>"
    yield "<h2>Stages</h2><p>Medians of a batch, without the profiler.</p>"
    yield table(STAGE_HEADS, stage_rows(figures))
    told = "Who called what, in parts of a batch. A click opens a part, one above closes it."
    yield f"<h2>Flame</h2><p>{told}</p>{_key()}"
    yield from _flame(figures)
    told = (
        "By own time, without what they called; shares from the trace, milliseconds of a batch without the profiler."
    )
    yield f"<h2>Operators</h2><p>{told}</p>"
    yield table(operator_heads(figures), operator_rows(figures))
    yield f"<script>{_SCRIPT}</script>"


def _changes(report: Profile) -> Iterator[str]:
    if not report.promising:
        yield f"<p>{'Nothing that was tried makes it faster.' if report.tried else 'No change was tried.'}</p>"
    yield f"<ol>{''.join(_change(each, report) for each in report.promising)}</ol>"
    if report.together is not None:
        yield f"<p>The best of them together:</p><ul>{_change(report.together, report)}</ul>"
    if report.useless:
        lines = "".join(f"<li>{escape(each.name)}: {escape(no_gain(each))}</li>" for each in report.useless)
        yield f"<details><summary>Tried without gain</summary><ul>{lines}</ul></details>"


def _change(tried: Tried, report: Profile) -> str:
    parts = (f"<p>{escape(part)}</p>" for part in (tried.why, batch_note(tried, report)) if part)
    yaml = f"<pre>{escape(tried.yaml)}</pre>" if tried.yaml else ""
    return f"<li><b>{escape(tried.name)}</b>: {escape(no_gain(tried))}{''.join(parts)}{yaml}</li>"


def _key() -> str:
    named = {**_COLOURS, "stages": _STAGE, "modules": _MODULE}
    items = (f'<li><i class="k{number}"></i>{escape(name)}</li>' for name, number in named.items())
    return f'<ul class="key">{"".join(items)}</ul>'


def _flame(figures: Figures) -> Iterator[str]:
    blocks = list(_blocks(figures.flame, 0.0, 0, "", figures.ms))
    rows = max(depth for depth, _ in blocks) + 1
    drawn = "".join(block for _, block in blocks)
    yield f'<p id="told"></p><div class="flame" id="flame" style="height:{rows * _ROW:.1f}rem">{drawn}</div>'
    text = "\n".join(flame_lines(figures.flame))
    yield f"<details><summary>As text, layers that are alike as one</summary><pre>{escape(text)}</pre></details>"


def _blocks(branch: Branch, left: float, depth: int, above: str, whole: float) -> Iterator[tuple[int, str]]:
    """Each part with how deep it lies; the widest of a level at the left."""
    title = f"{branch.name}: {percent(branch.share)}, {ms(branch.share * whole)} ms, {branch.calls} calls"
    place = f'data-l="{left:.5f}" data-w="{branch.share:.5f}"'
    style = f"left:{left * 100:.3f}%;width:{branch.share * 100:.3f}%;top:{depth * _ROW:.1f}rem"
    named = escape(short(branch.name, above))
    yield depth, f'<div class="k{_colour(branch)}" {place} style="{style}" title="{escape(title)}">{named}</div>'
    for each in branch.branches:
        if each.share >= _LEAST:
            yield from _blocks(each, left, depth + 1, branch.name, whole)
        left += each.share


def _colour(branch: Branch) -> int:
    if branch.is_operator:
        return _COLOURS[kind_of(branch.name)]
    return _MODULE if " " in branch.name else _STAGE
