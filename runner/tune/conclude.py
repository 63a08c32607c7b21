"""What a search has found, as the parts of a report. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.tune.choice import Choice, best_reading, rank
from runner.tune.facts import Alone, Reading
from runner.tune.halving import Search
from runner.tune.recommend import Reason, reasons
from runner.tune.report import AloneFigures, Chosen, Tried
from runner.tune.settings import QUEUE
from runner.tune.space import Candidate, Variant

_NOT_REACHED = "not measured: the search ended before"


def figures(found: Alone) -> AloneFigures:
    """A model without a server."""
    variant = found.variant
    return AloneFigures(
        name=variant.name,
        device=variant.device,
        threads=variant.threads,
        milliseconds={str(size): round(ms, 4) for size, ms in found.milliseconds.items()},
        load=round(found.load, 3),
        memory=found.memory,
        refused=found.refused,
        accuracy=dict(found.measured),
    )


def tried(
    every: Sequence[Candidate], out: Mapping[Candidate, str], search: Search | None, alone: Mapping[Variant, Alone]
) -> list[Tried]:
    """All candidates: the measured ones, the best first; the failed ones; those that are out. `out`: by the rules."""
    measured = {} if search is None else search.readings
    failed = {} if search is None else search.failed
    gone = {**dict.fromkeys(every, _NOT_REACHED), **({} if search is None else search.out), **out}
    return [
        *(_measured(each, search, alone) for each in _ranked(search)),
        *(Tried(each, "failed", reason) for each, reason in failed.items()),
        *(
            Tried(each, "out", reason, accuracy=_accuracy(each, alone))
            for each, reason in gone.items()
            if each not in measured and each not in failed
        ),
    ]


def chosen(
    search: Search,
    out: Mapping[Candidate, str],
    settings: Callable[[Choice], dict[str, Any]],
    yaml: Callable[[Choice, list[Reason]], str],
) -> Chosen | None:
    """The recommendation; None when nothing was measured. `out`: by the rules."""
    choice = search.choice
    if choice is None:
        return None
    values = settings(choice)
    why = reasons(choice, search.readings, {**search.failed, **search.out, **out}, search.known.goal)
    if QUEUE in values:
        why.append(Reason(QUEUE, str(values[QUEUE]), f"room for {choice.reading.load.name}"))
    return Chosen(
        candidate=choice.candidate,
        reading=choice.reading,
        met=choice.met,
        settings=values,
        yaml=yaml(choice, why),
        reasons=[{"setting": each.setting, "value": each.value, "why": each.why} for each in why],
        equals=[each.name for each in choice.equals],
    )


def _ranked(search: Search | None) -> list[Candidate]:
    """The best first; those that were measured longest before the others."""
    if search is None:
        return []
    goal = search.known.goal
    best = {each: _best(search, each) for each in search.readings}
    return sorted(best, key=lambda each: (each in search.finalists, rank(best[each], goal)), reverse=True)


def _measured(candidate: Candidate, search: Search | None, alone: Mapping[Variant, Alone]) -> Tried:
    assert search is not None, "this is a bug: measured without a search"
    readings = [*search.readings[candidate].values()]
    return Tried(candidate, "measured", None, _best(search, candidate), readings, _accuracy(candidate, alone))


def _best(search: Search, candidate: Candidate) -> Reading:
    best = best_reading(search.readings[candidate].values(), search.known.goal)
    assert best is not None, "this is a bug: a trial without a reading"
    return best


def _accuracy(candidate: Candidate, alone: Mapping[Variant, Alone]) -> dict[str, float]:
    found = alone.get(candidate.variant)
    return {} if found is None else dict(found.measured)
