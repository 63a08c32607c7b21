"""Made-up models on made-up machines: how long a batch takes is a straight line, what a server adds is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runner.tune.facts import Alone, Goal, Load, Reading
from runner.tune.halving import CandidateFailed
from runner.tune.pruning import AFTER, BEFORE, Known, Machine, prune
from runner.tune.space import Candidate, Space, Variant, Wanted, space

GB = 1_000_000_000


def make_space(**wanted: object) -> Space:
    plain: dict[str, object] = {"compiled": (False,), "precisions": ("fp32", "bf16")}
    return space(Wanted(**{**plain, **wanted}), device="cpu", batch_size=8, cores=2, gpus=0)  # type: ignore[arg-type]


def make_alone(variant: Variant, curve: Mapping[int, float], **fields: object) -> Alone:
    plain: dict[str, object] = {"load": 1.0, "memory": GB, "base": GB // 4}
    return Alone(variant, curve, **{**plain, **fields})  # type: ignore[arg-type]


def make_known(goal: Goal | None = None, alone: list[Alone] | None = None, within: Space | None = None) -> Known:
    machine = Machine(cores=2, free=8 * GB)
    found = {each.variant: each for each in alone or []}
    return Known(within or make_space(), goal or Goal("throughput", 100.0), machine, found)


def make_reading(throughput: float, p99: float, concurrency: int = 8, **fields: object) -> Reading:
    plain: dict[str, object] = {"seconds": 1.0, "requests": 500, "p50": p99 / 2}
    return Reading(Load(concurrency), throughput=throughput, p99=p99, **{**plain, **fields})  # type: ignore[arg-type]


def eager(threads: int = 1, precision: str = "fp32", *, compiled: bool = False) -> Variant:
    return Variant("cpu", precision, compiled, threads)


@dataclass
class Line:
    """Milliseconds of a batch: `once` and `each` per row."""

    once: float
    each: float

    def __call__(self, size: int) -> float:
        return self.once + self.each * size


@dataclass
class World:
    """A machine on which a server of each candidate behaves by its model. `per_row`: milliseconds of the front end,
    one core for all; `noise`: factor for the n-th reading. The clock goes on by what is measured."""

    models: Mapping[Variant, Line]
    within: Space
    per_row: float = 0.02
    start: float = 3.0
    noise: Callable[[int], float] = lambda number: 1.0
    dying: frozenset[Candidate] = frozenset()
    now: float = 0.0
    asked: list[tuple[Candidate, Load, float]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def price(self, candidate: Candidate) -> float:
        return 0.0 if self.asked and self.asked[-1][0] == candidate else self.start

    def read(self, candidate: Candidate, load: Load, seconds: float) -> Reading:
        self.now += self.price(candidate) + seconds
        self.asked.append((candidate, load, seconds))
        if candidate in self.dying:
            raise CandidateFailed("the server ended by SIGKILL")
        return self.truth(candidate, load, seconds, self.noise(len(self.asked)))

    def truth(self, candidate: Candidate, load: Load, seconds: float = 1.0, noise: float = 1.0) -> Reading:
        concurrency = load.concurrency or 1
        size = max(1, min(candidate.batch_size, concurrency // candidate.workers))
        line = self.models[candidate.variant]
        busy = min(candidate.workers, concurrency)
        throughput = min(busy * size * 1000 / line(size), 1000 / self.per_row) * noise
        latency = concurrency * 1000 / throughput
        cores = candidate.workers * candidate.variant.threads * 1.0
        requests = max(1, int(throughput * seconds))
        return Reading(load, seconds, requests, throughput, latency, latency * 1.2, cores=cores)

    def alone(self) -> list[Alone]:
        sizes = (1, 4, 8, 16, 32)
        return [make_alone(each, {size: line(size) for size in sizes}) for each, line in self.models.items()]

    def known(self, goal: Goal) -> Known:
        return make_known(goal, self.alone(), self.within)

    def candidates(self, goal: Goal) -> list[Candidate]:
        """What pruning leaves."""
        left, _ = prune(self.within.candidates(), self.known(goal), BEFORE)
        return prune([each for each in left if each.variant in self.models], self.known(goal), AFTER)[0]
