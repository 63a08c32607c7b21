"""The table: one line per scenario as soon as it has been played, and a sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.ledger import Ledger

_NAME, _STATUSES = 50, 30
_COLUMNS = f"{'scenario':<{_NAME}} {'sent':>7} {'answered':>8} {'by status':<{_STATUSES}} {'lost':>4} {'doubled':>7}"


@dataclass(frozen=True)
class Outcome:
    """How a scenario went. `broken`: what was not as expected; `seconds` it took."""

    name: str
    ledger: Ledger
    broken: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def is_good(self) -> bool:
        return not (self.broken or self.ledger.lost or self.ledger.doubled)


def head() -> str:
    columns = f"{_COLUMNS} {'p99 ms':>8} {'took':>6}  verdict"
    return f"{columns}\n{'-' * len(columns)}"


def line(outcome: Outcome) -> str:
    """The scenario's row, and below it what there is to say."""
    ledger = outcome.ledger
    row = (
        f"{outcome.name:<{_NAME}} {ledger.sent:>7} {ledger.answers:>8} {_by_status(ledger.statuses):<{_STATUSES}} "
        f"{ledger.lost:>4} {ledger.doubled:>7} {ledger.p99() * 1000:>8.1f} {outcome.seconds:>5.1f}s  "
        f"{'ok' if outcome.is_good else 'BROKEN'}"
    )
    return "\n".join([row, *(f"    {text}" for text in (*outcome.notes, *outcome.broken, *ledger.stories))])


def total(outcomes: Sequence[Outcome], seconds: float) -> str:
    """What it comes to."""
    good = sum(outcome.is_good for outcome in outcomes)
    sent, answers, lost, doubled = (
        sum(getattr(outcome.ledger, what) for outcome in outcomes) for what in ("sent", "answers", "lost", "doubled")
    )
    return (
        f"{good} of {len(outcomes)} scenarios as expected: {sent} requests, {answers} answers, {lost} lost, "
        f"{doubled} doubled, in {seconds:.0f} s"
    )


def _by_status(statuses: Counter[str]) -> str:
    return " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
