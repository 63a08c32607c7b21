"""Why the settings of a choice are what they are: each against the best that was found with another value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.tune.choice import Choice, best_reading, meets, score, words
from runner.tune.facts import Goal, Load, Reading
from runner.tune.space import Candidate

#: Settings in which a candidate may differ and still say something about one of them.
_ALIKE = 2
#: What tables and sentences call a setting → what it is of a candidate.
SETTINGS: Mapping[str, Callable[[Candidate], Any]] = {
    "device": lambda each: each.variant.device,
    "workers": lambda each: each.workers,
    "threads": lambda each: each.variant.threads,
    "batchSize": lambda each: each.batch_size,
    "precision": lambda each: each.variant.precision or "as declared",
    "compile": lambda each: "on" if each.variant.compiled else "off",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One setting, and the sentence why."""

    setting: str
    value: str
    why: str


def reasons(
    choice: Choice, measured: Mapping[Candidate, Mapping[Load, Reading]], out: Mapping[Candidate, str], goal: Goal
) -> list[Reason]:
    """One for each setting that could be chosen at all. `out`: why others were not measured, those that came nearest
    to it first."""
    every = [*measured, *out]
    found = []
    for name, value in SETTINGS.items():
        own = value(choice.candidate)
        others = [each for each in every if value(each) != own]
        if others:
            why = _why(choice, others, measured, out, goal, lambda each, value=value: value(each))  # type: ignore[misc]
            found.append(Reason(name, str(own), why))
    return found


def _why(
    choice: Choice,
    others: Iterable[Candidate],
    measured: Mapping[Candidate, Mapping[Load, Reading]],
    out: Mapping[Candidate, str],
    goal: Goal,
    value: Callable[[Candidate], Any],
) -> str:
    readings = {
        each: best
        for each in others
        if each in measured
        and (best := best_reading(measured[each].values(), goal)) is not None
        and meets(best, goal)
    }
    if readings:
        second = max(readings, key=lambda each: score(readings[each], goal))
        return f"{value(second)} gives {words(score(readings[second], goal), goal)} at best ({second.name})"
    beyond = [each for each in others if each in measured]
    if beyond:
        nearest = min(
            (reading for each in beyond for reading in measured[each].values()), key=lambda reading: reading.p99
        )
        return f"the lowest p99 of {value(beyond[0])} was {nearest.p99:.3g} ms"
    near = [each for each in out if each in others]
    alike = [each for each in near if _unlike(each, choice.candidate) <= _ALIKE] or near
    return f"not {value(alike[0])}: {out[alike[0]]}"


def _unlike(one: Candidate, other: Candidate) -> int:
    """In how many settings they differ."""
    return sum(value(one) != value(other) for value in SETTINGS.values())
