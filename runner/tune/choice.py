"""Objective and limit → the best of what was measured, or the answer that nothing is within the limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.tune.facts import Goal, Reading
from runner.tune.space import Candidate, Space

#: Part by which scores may differ and still count as equal: then the simpler configuration is better.
TIE = 0.02


@dataclass(frozen=True, slots=True)
class Choice:
    """`reading`: the level at which the candidate is best. `met`: within the limit; otherwise it is the candidate
    that came nearest to it. `equals`: candidates as good, and less simple."""

    candidate: Candidate
    reading: Reading
    met: bool
    equals: tuple[Candidate, ...] = ()


def meets(reading: Reading, goal: Goal) -> bool:
    """Whether every request was answered with success, and in time."""
    return not reading.failed and reading.requests > 0 and (goal.sla is None or reading.p99 <= goal.sla)


def score(reading: Reading, goal: Goal) -> float:
    """The higher the better, and a ratio of two scores is a ratio of what they stand for: answers a second, one over
    the p99, answers per core-second."""
    if goal.objective == "throughput":
        return reading.throughput
    if goal.objective == "latency":
        return 1 / reading.p99 if reading.p99 else 0.0
    return 1 / reading.cost if reading.cost else 0.0


def words(of: float, goal: Goal) -> str:
    """A score as people say it."""
    if goal.objective == "latency":
        return f"p99 {1 / of:.3g} ms" if of else "no p99"
    if goal.objective == "cost":
        return f"{1000 / of:.3g} core-ms per answer" if of else "no answers"
    return f"{of:,.0f}/s" if of >= 100 else f"{of:.3g}/s"


def best_reading(readings: Iterable[Reading], goal: Goal) -> Reading | None:
    """Of one candidate: the best within the limit, else the one with the lowest p99; None for none."""
    found = list(readings)
    within = [each for each in found if meets(each, goal)]
    if within:
        return max(within, key=lambda each: score(each, goal))
    return min(found, key=lambda each: (each.failed > 0, each.p99), default=None)


def rank(reading: Reading, goal: Goal) -> tuple[bool, float]:
    """What sorts candidates by their best readings, the best last: those beyond the limit by how far they are."""
    return (True, score(reading, goal)) if meets(reading, goal) else (False, -reading.p99)


def choose(measured: Mapping[Candidate, Iterable[Reading]], goal: Goal, space: Space) -> Choice | None:
    """The best candidate, of those equally good the simplest; None when nothing was measured."""
    found = {each: best for each, readings in measured.items() if (best := best_reading(readings, goal)) is not None}
    if not found:
        return None
    first = max(found, key=lambda each: rank(found[each], goal))
    if not meets(found[first], goal):
        return Choice(first, found[first], met=False)
    least = score(found[first], goal) * (1 - TIE)
    equal = [each for each, reading in found.items() if meets(reading, goal) and score(reading, goal) >= least]
    simplest, *others = sorted(equal, key=space.simplicity)
    return Choice(simplest, found[simplest], met=True, equals=tuple(others))
