"""What the curves of a model alone say about a server of it, before there is one. Pure.

A server cannot answer faster than its workers do, nor than there are cores for all of it. That gives bounds; what a
server is likely to add gives the order in which candidates are worth trying.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.tune.facts import Alone, Goal
from runner.tune.space import Candidate


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a server adds: milliseconds that a batch's way to the worker and back takes, milliseconds of a core for
    each row outside the worker, and the part of the p99 that the mean is of."""

    per_batch: float
    per_row: float
    mean: float


#: Measured with small models on slow cores; and what it cannot be less than anywhere, for the mean is below the p99.
LIKELY, LEAST = Overhead(0.3, 0.04, 0.6), Overhead(0.1, 0.02, 1.0)
#: Of two: the highest concurrency that is thought of.
_POWERS = 10


def rate(candidate: Candidate, alone: Alone, *, per_batch: float = 0.0, most: int | None = None) -> float:
    """Rows a second of its workers at their best batch size up to `most` (its own unless smaller), with so many
    milliseconds for each batch besides."""
    largest = min(candidate.batch_size, most or candidate.batch_size)
    times = ((size, at(alone.milliseconds, size)) for size in range(1, largest + 1))
    return candidate.workers * max(size * 1000 / (took + per_batch) for size, took in times)


def at(curve: Mapping[int, float], size: float) -> float:
    """Milliseconds of a batch of that size, between the measured ones by straight line."""
    sizes = sorted(curve)
    below = max((each for each in sizes if each <= size), default=sizes[0])
    above = min((each for each in sizes if each >= size), default=sizes[-1])
    if above == below:
        return curve[below]
    return curve[below] + (curve[above] - curve[below]) * (size - below) / (above - below)


def promise(candidate: Candidate, alone: Alone, goal: Goal, cores: int) -> float:
    """The score (`choice.score`) that is likely, to try the likely ones first; 0 when the limit is likely broken at
    each level."""
    if goal.objective == "latency":
        return 1 / at(alone.milliseconds, _likely_batch(candidate, alone, goal))
    likely = max(_at_level(candidate, alone, level, goal.sla, cores, LIKELY) for level in _levels(goal))
    return likely if goal.objective == "throughput" else likely / candidate.cores


def bound(candidate: Candidate, alone: Alone, goal: Goal, cores: int) -> float:
    """The score that it cannot exceed: a worker takes a core at least, no answer comes before its batch is done."""
    if goal.objective == "latency":
        return 1 / min(alone.milliseconds.values())
    best = max(_at_level(candidate, alone, level, goal.sla, cores, LEAST) for level in _levels(goal))
    return best if goal.objective == "throughput" else best / candidate.workers


def _levels(goal: Goal) -> Sequence[int]:
    return goal.concurrency or [1 << power for power in range(_POWERS)]


def _at_level(
    candidate: Candidate, alone: Alone, concurrency: int, sla: float | None, cores: int, added: Overhead
) -> float:
    """Answers a second of a closed loop: what the workers give, as far as there are cores for them and for the rest
    of the server; 0 when by Little's law the limit is broken."""
    size = max(1, min(candidate.batch_size, -(-concurrency // candidate.workers)))
    took = at(alone.milliseconds, size)
    workers = min(candidate.workers, concurrency) * size * 1000 / (took + added.per_batch)
    machine = cores * 1000 / (added.per_row + candidate.variant.threads * took / size)
    found = min(workers, machine)
    return found if sla is None or concurrency * 1000 / found <= sla * added.mean else 0.0


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
        best = rate(candidate, alone, per_batch=LIKELY.per_batch, most=level * 2)
        if goal.sla is not None and level * 2 * 1000 / best > goal.sla * LIKELY.mean:
            break
        level *= 2
    return level
