"""Two reports side by side: what differs, by how much, and whether the rounds are sure of it. Pure.

A difference counts when it is beyond the tolerance *and* lies outside what the rounds differ among themselves: a
permutation test over the rounds, which supposes nothing about how measurements are distributed. Three rounds against
three are the fewest that can be sure (one in ten by chance); with fewer the tolerance decides, and that is told.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median

from runner.bench.report import Level, Report

#: By chance at most so often, for a difference to be believed.
_CHANCE = 0.1
_SHUFFLES = 10_000
#: Compared latencies.
_LATENCIES = ("p50", "p99")


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one level, before and after: medians of the rounds.

    `worse` is the loss as a part of before, below 0 for a gain; `chance`: how often shuffled rounds differ as much,
    either way; `least`: the smallest that it could be.
    """

    level: str
    figure: str
    before: float
    after: float
    worse: float
    chance: float
    least: float

    @property
    def is_sure(self) -> bool:
        return self.chance <= _CHANCE

    @property
    def can_be_sure(self) -> bool:
        """Whether there are rounds enough."""
        return self.least <= _CHANCE

    def is_beyond(self, tolerance: float) -> bool:
        """Whether this is a loss to act on."""
        return self.worse > tolerance and (self.is_sure or not self.can_be_sure)


def differences(before: Report, after: Report) -> list[Difference]:
    """Of the levels that both have, in the order of the first."""
    others = {(level.concurrency, level.rate): level for level in after.measured}
    pairs = [(level, others.get((level.concurrency, level.rate))) for level in before.measured]
    return [each for one, other in pairs if other is not None for each in _of_level(one, other)]


def unlike(before: Report, after: Report) -> Iterator[str]:
    """Why the two may not be comparable, in sentences."""
    for key in ("processor", "cores", "torch"):
        one, other = before.machine.get(key), after.machine.get(key)
        if one != other:
            yield f"{key}: {one} before, {other} after"
    if before.input != after.input:
        yield f"input: {before.input} before, {after.input} after"
    only = {level.name for level in before.measured} ^ {level.name for level in after.measured}
    if only:
        yield f"only in one of them: {', '.join(sorted(only))}"


def _of_level(one: Level, other: Level) -> Iterator[Difference]:
    yield _difference(one.name, "requests/s", _throughputs(one), _throughputs(other), more_is_better=True)
    for name in _LATENCIES:
        values = [[each.latency[name] for each in level.rounds if name in each.latency] for level in (one, other)]
        if all(values):
            yield _difference(one.name, name, *values, more_is_better=False)
    failed = [[sum(each.failures.values()) / each.requests for each in level.rounds] for level in (one, other)]
    if any(map(any, failed)):
        yield _difference(one.name, "failed", *failed, more_is_better=False)


def _throughputs(level: Level) -> list[float]:
    return [each.throughput for each in level.rounds]


def _difference(
    level: str, figure: str, before: Sequence[float], after: Sequence[float], *, more_is_better: bool
) -> Difference:
    was, is_ = median(before), median(after)
    least = min(1.0, 2 / math.comb(len(before) + len(after), len(before)))
    change = (is_ - was) / was if was else float(is_ > was)
    return Difference(level, figure, was, is_, -change if more_is_better else change, chance(before, after), least)


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """How often rounds that were shuffled between the two differ in their mean at least as much as they do: exactly
    for few rounds, by so many shuffles as are tried here for many."""
    every = [*one, *other]
    whole, seen = sum(every), abs(fmean(one) - fmean(other))
    total = as_much = 0
    for chosen in _shuffled(every, len(one)):
        part = sum(chosen)
        total += 1
        apart = abs(part / len(one) - (whole - part) / len(other))
        as_much += apart >= seen - 1e-9 * abs(whole)
    return as_much / total


def _shuffled(every: list[float], size: int) -> Iterable[Sequence[float]]:
    if math.comb(len(every), size) <= _SHUFFLES:
        return combinations(every, size)
    order = random.Random(0)  # noqa: S311  a fixed sequence: the same reports, the same answer
    return (order.sample(every, size) for _ in range(_SHUFFLES))
