"""What the curves of a model alone say about a server of it, before there is one. Pure.

A server cannot answer faster than its workers do with nothing around them. That gives bounds; what a server adds per
batch (`PER_BATCH`) gives the order in which candidates are worth trying.
"""

from __future__ import annotations

from collections.abc import Mapping

from runner.tune.facts import Alone, Goal
from runner.tune.space import Candidate

#: Part of the p99 that a mean is of, in a server that is as busy as it may be.
_MEAN = 0.6
#: Milliseconds that a batch's way to the worker and back takes on one core.
PER_BATCH = 0.3


def rate(candidate: Candidate, alone: Alone, *, most: int | None = None, sla: float | None = None) -> float:
    """Rows a second of its workers at their best batch size up to `most` (its own unless smaller); 0 when each size
    takes longer than `sla`."""
    return _best(candidate, alone, most, sla, 0.0)


def likely_rate(candidate: Candidate, alone: Alone, *, most: int | None = None, sla: float | None = None) -> float:
    """`rate` with what a server adds to each batch."""
    return _best(candidate, alone, most, sla, PER_BATCH)


def _best(candidate: Candidate, alone: Alone, most: int | None, sla: float | None, added: float) -> float:
    largest = min(candidate.batch_size, most or candidate.batch_size)
    times = ((size, at(alone.milliseconds, size)) for size in range(1, largest + 1))
    rates = (size * 1000 / (ms + added) for size, ms in times if sla is None or ms <= sla)
    return candidate.workers * max(rates, default=0.0)


def at(curve: Mapping[int, float], size: float) -> float:
    """Milliseconds of a batch of that size, between the measured ones by straight line."""
    sizes = sorted(curve)
    below = max((each for each in sizes if each <= size), default=sizes[0])
    above = min((each for each in sizes if each >= size), default=sizes[-1])
    if above == below:
        return curve[below]
    return curve[below] + (curve[above] - curve[below]) * (size - below) / (above - below)


def promise(candidate: Candidate, alone: Alone, goal: Goal) -> float:
    """The score (`choice.score`) that is likely, to try the likely ones first."""
    if goal.objective == "latency":
        return 1 / at(alone.milliseconds, _likely_batch(candidate, alone, goal))
    likely = likely_rate(candidate, alone, sla=goal.sla, most=_under_way(goal))
    return likely if goal.objective == "throughput" else likely / candidate.cores


def bound(candidate: Candidate, alone: Alone, goal: Goal) -> float:
    """The score that it cannot exceed: a worker takes a whole core at least."""
    if goal.objective == "latency":
        return 1 / min(alone.milliseconds.values())
    best = rate(candidate, alone, sla=goal.sla, most=_under_way(goal))
    return best if goal.objective == "throughput" else best / candidate.workers


def _under_way(goal: Goal) -> int | None:
    return max(goal.concurrency) if goal.concurrency else None


def _likely_batch(candidate: Candidate, alone: Alone, goal: Goal) -> float:
    """Rows of a batch at the load that is asked for: of those under way a worker's share, or those that come while a
    batch runs."""
    if goal.rate is not None:
        came = goal.rate * alone.milliseconds[min(alone.milliseconds)] / 1000
    else:
        came = max(goal.concurrency or (1,))
    return min(max(1.0, came / candidate.workers), candidate.batch_size)


def start_level(candidate: Candidate, alone: Alone, goal: Goal, most: int) -> int:
    """The concurrency to begin with: each worker has a batch, another one waits for it, and by Little's law the mean
    latency is far enough below the limit for the slowest. A power of two, at most `most`."""
    level = 1
    while level < 2 * candidate.workers * candidate.batch_size and level * 2 <= most:
        best = likely_rate(candidate, alone, most=level * 2)
        if goal.sla is not None and best and level * 2 * 1000 / best > goal.sla * _MEAN:
            break
        level *= 2
    return level
