"""The frame of a page that stands alone: one HTML file, nothing beside it. For screens, phones and paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root{--ink:#1b1f24;--soft:#59636e;--paper:#fff;--rule:#d5dae0;--c0:#1f6feb;--c1:#d1570a;--c2:#1a7f37;--c3:#8250df;
--c4:#bf3989;--c5:#7d6300}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--paper:#0e1217;--rule:#343c46;--c0:#58a6ff;
--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;--c4:#f778ba;--c5:#d6b429}}
@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--rule:#bbb;--c0:#0a4fbf;--c1:#b14700;--c2:#116329;
--c3:#6639ba;
--c4:#99286e;--c5:#5f4b00}
figure,tr{break-inside:avoid}body{padding:0}}
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
"""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """The whole file. `style`: rules of this page alone."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{escape(title)}</title>'
        f"<style>{_STYLE}{style}</style></head>\n<body>{''.join(body)}</body></html>\n"
    )


def facts_list(facts: Iterable[tuple[str, str]]) -> str:
    """Names with their sentences."""
    named = "".join(f"<dt>{escape(name)}</dt><dd>{escape(sentence)}</dd>" for name, sentence in facts)
    return f"<dl>{named}</dl>"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Scrolls sideways where it is too wide."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
