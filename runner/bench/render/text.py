"""For the terminal: a rich table there, the same columns as plain text in a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Container, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from runner.bench.compare import Difference
from runner.bench.render.table import COMPARED_HEADS, HEADS, SERVER_HEADS, facts, figure, rows, server_rows
from runner.bench.report import Report

_WIDE = 200


def text(report: Report) -> str:
    """Facts, the table of levels, the server's own account, notes."""
    out = io.StringIO()
    console = Console(file=out, width=_WIDE, force_terminal=sys.stdout.isatty(), highlight=False, soft_wrap=True)
    for name, sentence in facts(report):
        console.print(f"{name:<10}{sentence}", markup=False)
    console.print()
    console.print(_table(HEADS, rows(report)))
    server = server_rows(report)
    if server:
        console.print(_table(SERVER_HEADS, server))
    for sentence in report.notes:
        console.print(f"note      {sentence}", markup=False)
    if report.stopped is not None:
        console.print(f"stopped   early: {report.stopped.splitlines()[0]}", markup=False)
    return _trimmed(out.getvalue())


def comparison(found: Sequence[Difference], tolerance: float) -> str:
    """What changed, a line per figure; what is beyond the tolerance is marked."""
    lines = [
        (
            each.level,
            each.figure,
            *map(figure, (each.before, each.after)),
            f"{-each.worse:+.1%}",
            _verdict(each, tolerance),
        )
        for each in found
    ]
    return tables([(COMPARED_HEADS, lines)])


def tables(several: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]], left: Container[int] = (0,)) -> str:
    """Heads and lines of each table. `left`: columns of words."""
    out = io.StringIO()
    console = Console(file=out, width=_WIDE, force_terminal=sys.stdout.isatty(), highlight=False, soft_wrap=True)
    for heads, lines in several:
        console.print(_table(heads, lines, left))
    return _trimmed(out.getvalue())


def _trimmed(shown: str) -> str:
    """Without the blanks that fill a table's lines."""
    return "\n".join(line.rstrip() for line in shown.splitlines()).strip("\n")


def _verdict(each: Difference, tolerance: float) -> str:
    if each.is_beyond(tolerance):
        return "worse" if each.is_sure else "worse, too few rounds to be sure"
    if not each.can_be_sure:
        return "too few rounds to be sure"
    if not each.is_sure:
        return "within what rounds differ"
    return "within the tolerance" if abs(each.worse) <= tolerance else "better" if each.worse < 0 else "worse"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place in left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table
