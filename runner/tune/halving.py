"""Which candidates get how much time: short trials for all, longer ones for the best part, the last few side by side.

    rung      trials of                     each load    until this part of the budget
    first     all that pruning left         0.7 s        0.55, the most promising first
    second    the best third, above three   1.5 s        0.8
    last      the best three, in turn       1.5 s × 3    1

Pure: clock and measurer are handed in. Whatever stops it, what was measured is in the fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runner.tune.choice import Choice, best_reading, choose, meets, rank, score, words
from runner.tune.climb import again, next_load
from runner.tune.facts import MOST, Load, Reading, pooled
from runner.tune.predict import bound, promise, start_level
from runner.tune.pruning import Known
from runner.tune.space import Candidate

#: Seconds of each load in the first and in the later rungs.
SHORT, LONG = 0.7, 1.5
#: Parts of the budget at whose end the first and the second rung are over.
_FIRST, _SECOND = 0.55, 0.8
#: What a rung keeps of its candidates: a part, and not fewer than.
_PART, _LEAST = 1 / 3, 3
#: Passes over the last few, each in the other order.
_PASSES = 3
#: Part by which a bound may be wrong: it was measured, too.
_DOUBT = 0.1
#: Part of the first one's score that the others need to be measured side by side with it.
_NEAR = 0.8


class CandidateFailed(Exception):
    """The server of this candidate did not start, or died. Its last lines."""


class Measurer(Protocol):
    """Who drives servers."""

    def read(self, candidate: Candidate, load: Load, seconds: float) -> Reading:
        """Measure so long. Raises CandidateFailed."""

    def price(self, candidate: Candidate) -> float:
        """Seconds until its server answers; 0 when it does already."""


#: Hears what becomes of a candidate: measuring, measured, out, failed; and the reason or the reading.
Told = Callable[[Candidate, str, str | Reading], None]


@dataclass
class Search:
    """The way from candidates to a choice. `deadline` on the clock, in seconds.

    `readings`: of each candidate those of the longest trial that it had; `finalists`: whose trials were the longest;
    `out` and `failed`: why a candidate has no part in it any more.
    """

    known: Known
    measurer: Measurer
    clock: Callable[[], float]
    deadline: float
    told: Told
    readings: dict[Candidate, dict[Load, Reading]] = field(default_factory=dict)
    finalists: list[Candidate] = field(default_factory=list)
    out: dict[Candidate, str] = field(default_factory=dict)
    failed: dict[Candidate, str] = field(default_factory=dict)

    @property
    def choice(self) -> Choice | None:
        """The best of those that were measured longest; of all, when none of those is within the limit."""
        longest = {each: self.readings[each].values() for each in self.finalists}
        every = {each: readings.values() for each, readings in self.readings.items()}
        found = choose(longest, self.known.goal, self.known.space)
        return found if found is not None and found.met else choose(every, self.known.goal, self.known.space)

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Until the best few are measured long enough, or the time is over. What was left out because of candidates
        whose servers failed later gets its turn."""
        begun = self.clock()
        self._rungs(candidates, begun)
        if self.failed and not self.finalists and self.out:
            again, self.out = [*self.out], {}
            self._rungs(again, begun)

    def _rungs(self, candidates: Sequence[Candidate], begun: float) -> None:
        first, second = (begun + part * (self.deadline - begun) for part in (_FIRST, _SECOND))
        order = sorted(candidates, key=self.known.space.simplicity)
        order.sort(key=self._promise, reverse=True)
        for place, candidate in enumerate(order):
            if not self._may_begin(candidate, first):
                self._leave(order[place:], "not measured: the budget was used up")
                break
            self._short_trial(candidate)
        best = self._best(self.finalists)
        for candidate in best if len(best) > _LEAST else ():
            if not self._has_time(candidate, LONG, second):
                break
            self._longer_trial(candidate)
        self._last(self._last_few())

    def _short_trial(self, candidate: Candidate) -> None:
        """Unless what is known says that it cannot be the best."""
        reason = self._hopeless(candidate)
        if reason is not None:
            self._leave([candidate], reason)
            return
        known, done = self.known, dict[Load, Reading]()
        start = start_level(candidate, known.alone[candidate.variant], known.goal, MOST)
        while (load := next_load(done, known.goal, start)) is not None:
            reading = self._read(candidate, load, SHORT)
            if reading is None:
                return
            done[load] = reading
        self._keep(candidate, done)
        self.finalists.append(candidate)

    def _longer_trial(self, candidate: Candidate) -> None:
        done = {}
        for load in again(self.readings[candidate], self.known.goal):
            reading = self._read(candidate, load, LONG)
            if reading is None:
                return
            done[load] = reading
        self._keep(candidate, done)

    def _last(self, candidates: Sequence[Candidate]) -> None:
        """Side by side, so that a drift of the machine falls on all alike. A pass begins only when there is time for
        all of it."""
        self.finalists = list(candidates)
        loads = {each: again(self.readings[each], self.known.goal) for each in candidates}
        found: dict[Candidate, dict[Load, list[Reading]]] = {}
        for number in range(_PASSES):
            order = candidates if number % 2 == 0 else [*reversed(candidates)]
            turn = [each for each in order if each in self.finalists]
            needed = sum(self.measurer.price(each) + LONG * len(loads[each]) for each in turn)
            if not turn or self.clock() + needed > self.deadline:
                return
            for candidate in turn:
                self._pass(candidate, loads[candidate], found.setdefault(candidate, {}))
            for candidate in filter(self.finalists.__contains__, turn):
                self._keep(candidate, {load: pooled(each) for load, each in found[candidate].items()})

    def _pass(self, candidate: Candidate, loads: Sequence[Load], found: dict[Load, list[Reading]]) -> None:
        for load in loads:
            reading = self._read(candidate, load, LONG)
            if reading is None:
                return
            found.setdefault(load, []).append(reading)

    def _read(self, candidate: Candidate, load: Load, seconds: float) -> Reading | None:
        """None when its server failed: then it is out, and what was measured of it does not count."""
        self.told(candidate, "measuring", load.name)
        try:
            return self.measurer.read(candidate, load, seconds)
        except CandidateFailed as failure:
            self.failed[candidate] = str(failure)
            self.readings.pop(candidate, None)
            if candidate in self.finalists:
                self.finalists.remove(candidate)
            self.told(candidate, "failed", str(failure))
            return None

    def _keep(self, candidate: Candidate, done: dict[Load, Reading]) -> None:
        self.readings[candidate] = {**done}
        best = best_reading(done.values(), self.known.goal)
        assert best is not None, "this is a bug: a trial without a reading"
        self.told(candidate, "measured", best)

    def _leave(self, candidates: Sequence[Candidate], reason: str) -> None:
        for candidate in candidates:
            self.out[candidate] = reason
            self.told(candidate, "out", reason)

    def _may_begin(self, candidate: Candidate, end: float) -> bool:
        """The first one in any case while there is time at all: a result is better than none."""
        if not self.readings:
            return self.clock() < self.deadline
        return self._has_time(candidate, 2 * SHORT, end)

    def _has_time(self, candidate: Candidate, seconds: float, end: float) -> bool:
        return self.clock() + self.measurer.price(candidate) + seconds <= end

    def _promise(self, candidate: Candidate) -> float:
        known = self.known
        return promise(candidate, known.alone[candidate.variant], known.goal, known.machine.cores)

    def _best(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The best part, the best first."""
        ranked = sorted(candidates, key=lambda each: self._rank(each), reverse=True)
        return ranked[: max(_LEAST, math.ceil(len(ranked) * _PART))]

    def _last_few(self) -> list[Candidate]:
        """The best, those not far behind it, and the one whose curve promises most: when it is not among them, the
        machine may have been busy just then."""
        best = self._best(self.finalists)[:_LEAST]
        if not best:
            return []
        first = self._score(best[0])
        near = [each for each in best if first is None or (self._score(each) or 0.0) >= first * _NEAR]
        promising = max(self.finalists, key=self._promise)
        return near if promising in near else [*near[: _LEAST - 1], promising]

    def _rank(self, candidate: Candidate) -> tuple[bool, float]:
        best = best_reading(self.readings[candidate].values(), self.known.goal)
        assert best is not None, "this is a bug: a finalist without a reading"
        return rank(best, self.known.goal)

    def _hopeless(self, candidate: Candidate) -> str | None:
        """By what its workers can do with next to nothing around them."""
        goal = self.known.goal
        scores = {each: found for each in self.readings if (found := self._score(each)) is not None}
        if not scores:
            return None
        leader = max(scores, key=lambda each: scores[each])
        known = self.known
        most = bound(candidate, known.alone[candidate.variant], goal, known.machine.cores)
        if most * (1 + _DOUBT) >= scores[leader]:
            return None
        return f"{words(most, goal)} at best by the model alone, {words(scores[leader], goal)} with {leader.name}"

    def _score(self, candidate: Candidate) -> float | None:
        """Of its best level within the limit; None when there is none."""
        best = best_reading(self.readings[candidate].values(), self.known.goal)
        return score(best, self.known.goal) if best is not None and meets(best, self.known.goal) else None
