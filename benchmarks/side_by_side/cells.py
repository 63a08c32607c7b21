"""What is measured: the cells of the tables, how thoroughly, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.side_by_side.apps.workloads import WORKLOADS, Workload

#: Milliseconds that the first row of a batch may wait for more.
DELAY_MS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """A workload behind so many workers, asked over each number of connections in turn."""

    workload: str
    workers: int = 1
    connections: tuple[int, ...] = (1, 16, 64)

    @property
    def name(self) -> str:
        return self.workload if self.workers == 1 else f"{self.workload}, {self.workers} workers"

    @property
    def what(self) -> Workload:
        return WORKLOADS[self.workload]


ONE_WORKER = tuple(map(Cell, WORKLOADS))
TWO_WORKERS = Cell("minilm", workers=2, connections=(16, 64))


@dataclass(frozen=True, slots=True)
class Depth:
    """`seconds`: how long each number of connections is measured, after `warmup` seconds of the same load."""

    name: str
    rounds: int
    seconds: float
    warmup: float
    cells: tuple[Cell, ...]
    faults: bool


FULL = Depth("full", rounds=3, seconds=2.0, warmup=0.5, cells=(*ONE_WORKER, TWO_WORKERS), faults=True)
QUICK = Depth("quick", rounds=1, seconds=1.0, warmup=0.5, cells=ONE_WORKER, faults=False)
DEPTHS = {depth.name: depth for depth in (FULL, QUICK)}


@dataclass(frozen=True, slots=True)
class Turn:
    """A server that is started, measured in one cell and stopped."""

    round: int
    cell: Cell
    server: str


def groups(depth: Depth, servers: Sequence[str]) -> Iterator[list[Turn]]:
    """What is measured in one go, the next round in the other order: a drift of the machine falls on all alike."""
    for number in range(depth.rounds):
        order = servers if number % 2 == 0 else servers[::-1]
        yield from ([Turn(number, cell, server) for server in order] for cell in depth.cells)
