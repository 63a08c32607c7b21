"""For the terminal: a rich table there, the same columns as plain text in a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from runner.bench.render.table import HEADS, SERVER_HEADS, facts, rows, server_rows
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
    return out.getvalue().rstrip("\n")


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table
