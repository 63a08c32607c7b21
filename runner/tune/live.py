"""The candidates while they are measured: a table that changes on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from runner.bench.render.table import ms, rate
from runner.tune.facts import Reading
from runner.tune.space import Candidate

#: Lines of the table: what is being measured, the best, and what was decided last.
_LINES = 14
#: What is of interest first.
_ORDER = ("measuring", "measured", "failed", "out", "waiting")


class LiveBoard:
    """`runner.tune.run.Board` as a table."""

    def __init__(self) -> None:
        self._what = ""
        self._states: dict[Candidate, tuple[str, str | Reading]] = {}
        self._spinner = Spinner("dots")

    def told(self, what: str) -> None:
        self._what = what

    def candidate(self, candidate: Candidate, state: str, detail: str | Reading) -> None:
        self._states.pop(candidate, None)
        self._states[candidate] = (state, detail)

    def __rich__(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for head in ("candidate", "state", ""):
            table.add_column(head, no_wrap=True, overflow="ellipsis")
        for candidate, (state, detail) in self._shown():
            told = _figures(detail) if isinstance(detail, Reading) else " ".join(detail.split())
            table.add_row(candidate.name, state, told, style="dim" if state == "out" else None)
        counts = Counter(state for state, _ in self._states.values())
        line = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
        self._spinner.update(text=f"{line or 'starting'}: {self._what}")
        return Group(table, self._spinner)

    def _shown(self) -> list[tuple[Candidate, tuple[str, str | Reading]]]:
        """The last ones of each kind, the liveliest kind first."""
        newest = list(reversed(self._states.items()))
        ordered = sorted(newest, key=lambda each: _ORDER.index(each[1][0]))
        return ordered[:_LINES]


class QuietBoard:
    """Nobody looks."""

    def told(self, what: str) -> None:
        return None

    def candidate(self, candidate: Candidate, state: str, detail: str | Reading) -> None:
        return None


@contextmanager
def board() -> Iterator[LiveBoard | QuietBoard]:
    """On a terminal a table that goes when it is over."""
    if not sys.stderr.isatty():
        yield QuietBoard()
        return
    shown = LiveBoard()
    with Live(shown, console=Console(stderr=True), refresh_per_second=8, transient=True):
        yield shown


def _figures(reading: Reading) -> str:
    return f"{rate(reading.throughput)}/s, p99 {ms(reading.p99)} ms at {reading.load.name}"
