"""Which concurrency a candidate is measured at next: up by doubling while it pays and the limit holds, down while it
is broken. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from runner.tune.choice import best_reading, meets
from runner.tune.facts import MOST, Goal, Load, Reading

#: Part by which twice the concurrency must raise the throughput to be worth another doubling.
_GAIN = 0.03
#: From this part of the limit on, a longer measurement may find it broken.
_NEAR = 0.8
#: Beyond the limit by this factor, a short measurement is sure enough that a longer one need not ask again.
SURELY = 1.5


def next_load(done: Mapping[Load, Reading], goal: Goal, start: int) -> Load | None:
    """After what was measured of this candidate; None when it is enough. `start`: the level to begin with."""
    if goal.rate is not None:
        return _first_of((Load(rate=goal.rate),), done)
    if goal.concurrency is not None:
        return _first_of(tuple(Load(each) for each in goal.concurrency), done)
    return _climbed({load.concurrency or 1: each for load, each in done.items()}, goal, start)


def _first_of(loads: tuple[Load, ...], done: Mapping[Load, Reading]) -> Load | None:
    return next((each for each in loads if each not in done), None)


def _climbed(done: Mapping[int, Reading], goal: Goal, start: int) -> Load | None:
    if not done:
        return Load(start)
    good = [level for level, reading in done.items() if meets(reading, goal)]
    if not good:
        lowest = min(done)
        return Load(_lower(lowest, done[lowest], goal)) if lowest > 1 else None
    top = max(good)
    if top * 2 in done or top * 2 > MOST:
        return None
    below = done.get(top // 2)
    return Load(top * 2) if below is None or _pays(below, done[top]) else None


def _lower(level: int, reading: Reading, goal: Goal) -> int:
    """Half, or as far below as the p99 was beyond the limit: latencies of a closed loop rise with its level. A level
    too low is found to be so on the way up."""
    target = level / 2
    if goal.sla is not None and not reading.failed and reading.p99:
        target = min(target, level * goal.sla / reading.p99)
    return 1 << max(0, math.floor(math.log2(max(target, 1))))


def again(done: Mapping[Load, Reading], goal: Goal) -> list[Load]:
    """What a longer measurement asks once more: the best level and, where the limit is near, the one beside it."""
    best = best_reading(done.values(), goal)
    if best is None:
        return []
    level = best.load.concurrency
    if level is None or goal.concurrency is not None or goal.sla is None:
        return [best.load]
    beside = []
    above = done.get(Load(level * 2))
    if above is not None and not above.failed and above.p99 < goal.sla * SURELY and _pays(best, above):
        beside.append(above.load)
    if level > 1 and best.p99 > goal.sla * _NEAR:
        beside.append(Load(level // 2))
    return [best.load, *beside]


def _pays(below: Reading, above: Reading) -> bool:
    return above.throughput > below.throughput * (1 + _GAIN)


def is_certainly_broken(over: int, seen: int, part: float) -> bool:
    """Whether the p99 will be beyond the limit however fast the rest is: `over` of the requests `seen` in this part
    of the time were, and the rest may bring half as many again as it did so far."""
    expected = seen * (1 + (1 / part - 1) * 1.5)
    return over > 0.01 * expected
