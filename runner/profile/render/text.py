"""For the terminal: facts, tables, the call tree, what to change."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from runner.bench.render.text import tables
from runner.profile.render.words import (
    STAGE_HEADS,
    alike,
    batch_note,
    facts,
    gain,
    no_gain,
    operator_heads,
    operator_rows,
    percent,
    short,
    stage_rows,
)
from runner.profile.report import Profile
from runner.profile.tree import Branch

_LEAST, _DEEPEST = 0.02, 12
#: Columns of a line, of the names before facts, and the fewest that shapes are given.
_WIDE, _NAMES, _NARROW = 100, 10, 16
#: Blanks between two columns of a table, and before the first.
_GAP, _BEFORE = 3, 1


def text(report: Profile) -> str:
    """All of it."""
    return "\n".join(_lines(report))


def _lines(report: Profile) -> Iterator[str]:
    for name, sentence in facts(report):
        yield textwrap.fill(f"{name:<{_NAMES}}{sentence}", _WIDE, subsequent_indent=" " * _NAMES)
    yield ""
    yield tables([(STAGE_HEADS, stage_rows(report.figures))]) + "\n"
    heads = operator_heads(report.figures)
    yield tables([(heads, _narrow(heads, operator_rows(report.figures)))], left=(0, len(heads) - 1)) + "\n"
    yield from flame_lines(report.figures.flame)
    yield ""
    yield from _changes(report)


def _narrow(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """With the last cell cut to what the others leave of a line."""
    widths = (max(map(len, column)) + _GAP for column in list(zip(heads, *rows, strict=True))[:-1])
    room = max(_WIDE - _BEFORE - sum(widths), _NARROW)
    return [(*cells, last if len(last) <= room else last[: room - 1] + "…") for *cells, last in rows]


def flame_lines(flame: Branch) -> Iterator[str]:
    """Who called what, with everything below it; layers that are alike as one."""
    above = [""] * (_DEEPEST + 2)
    for depth, each in alike(flame).walk(_LEAST):
        if depth <= _DEEPEST:
            above[depth + 1] = each.name
            yield f"{percent(each.share):>6}  {'  ' * depth}{short(each.name, above[depth])}"


def _changes(report: Profile) -> Iterator[str]:
    if not report.promising:
        yield "Nothing that was tried makes it faster." if report.tried else "No change was tried."
    for number, each in enumerate(report.promising, 1):
        yield f"{number}. {each.name}: {gain(each)}"
        yield from _indented([each.why, batch_note(each, report), each.yaml])
    if report.together is not None:
        yield f"together: {no_gain(report.together)}"
        yield from _indented([report.together.name, batch_note(report.together, report), report.together.yaml])
    for each in report.useless:
        yield f"no gain from {each.name}: {no_gain(each)}"
    yield from (f"note: {note}" for note in report.notes)


def _indented(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if part:
            yield textwrap.indent(part, "   ")
