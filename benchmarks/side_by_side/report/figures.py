"""Records → figures: medians over rounds, and ratios of what was measured in the same round. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.side_by_side.cells import DEPTHS, Cell
from benchmarks.side_by_side.records import FAULTS, Absent, Calibration, Installed, Killed, Level, Record, Run, Visit
from benchmarks.side_by_side.servers import OURS, SERVERS, Server
from runner.bench.figures import Spread, spread


@dataclass(frozen=True, slots=True)
class Column:
    """A cell at one number of connections."""

    cell: Cell
    connections: int


class Results:
    """What was recorded, by server and column."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.run = next(each for each in records if isinstance(each, Run))
        self.depth = replace(DEPTHS[self.run.depth], rounds=self.run.rounds, seconds=self.run.seconds)
        self.installed = {each.server: each.versions for each in records if isinstance(each, Installed)}
        self.calibrations = {(each.round, each.cell): each for each in records if isinstance(each, Calibration)}
        self._visits = {(each.server, each.cell, each.round): each for each in records if isinstance(each, Visit)}
        self.records = records

    @property
    def servers(self) -> list[Server]:
        """Those of which there is a figure."""
        measured = {server for server, _, _ in self._visits}
        return [server for server in SERVERS if server.name in measured]

    def columns(self, workers: int) -> list[Column]:
        return [
            Column(cell, each) for cell in self.depth.cells if cell.workers == workers for each in cell.connections
        ]

    def absent(self) -> list[Absent]:
        """What is still missing, each once, with the last reason. Of a server without any figure: that alone."""
        present = {(server, cell) for server, cell, _ in self._visits}
        present |= {(each.server, FAULTS) for each in self.records if isinstance(each, Killed)}
        present |= {(server, "") for server, _ in present}
        last = {(each.server, each.cell): each for each in self.records if isinstance(each, Absent)}
        return [each for place, each in last.items() if place not in present]

    def short_of_rounds(self) -> Iterator[tuple[Server, Cell, int]]:
        """Where a figure is the median of fewer rounds than planned: of how many."""
        for server, cell in product(self.servers, self.depth.cells):
            if 0 < (count := len(self.visits(server.name, cell))) < self.depth.rounds:
                yield server, cell, count

    def visits(self, server: str, cell: Cell) -> dict[int, Visit]:
        """By round."""
        return {key[2]: visit for key, visit in self._visits.items() if key[:2] == (server, cell.name)}

    def levels(self, server: str, column: Column) -> dict[int, Level]:
        """By round."""
        return {
            number: level
            for number, visit in self.visits(server, column.cell).items()
            for level in visit.levels
            if level.connections == column.connections
        }

    def throughput(self, server: str, column: Column) -> Spread | None:
        return _spread(level.throughput for level in self.levels(server, column).values())

    def latency(self, server: str, column: Column, of: Callable[[Level], float | None]) -> Spread | None:
        """Milliseconds; `of` picks the percentile."""
        return _spread(of(level) for level in self.levels(server, column).values())

    def failed(self, server: str, column: Column) -> int:
        return sum(sum(level.failures.values()) for level in self.levels(server, column).values())

    def ahead(self, server: str, column: Column) -> Spread | None:
        """How many times as many requests torch-archive answers, round by round."""
        ours = {number: level.throughput for number, level in self.levels(OURS, column).items()}
        theirs = {number: level.throughput for number, level in self.levels(server, column).items()}
        return within_rounds(ours, theirs)

    def of_limit(self, server: str, column: Column) -> Spread | None:
        """The part of what the offline loop does, round by round."""
        got = {number: level.throughput for number, level in self.levels(server, column).items()}
        return within_rounds(got, self._limits(column))

    def limit(self, column: Column) -> Spread | None:
        """Rows a second of the offline loop: one at a time for one connection, else in full batches."""
        return _spread(self._limits(column).values())

    def _limits(self, column: Column) -> dict[int, float]:
        found = {number: each for (number, cell), each in self.calibrations.items() if cell == column.cell.name}
        one = column.connections == 1
        return {number: 1000 / each.milliseconds if one else each.rows for number, each in found.items()}

    def start(self, server: str, cell: Cell) -> Spread | None:
        """Seconds to the first right answer."""
        return _spread(visit.start for visit in self.visits(server, cell).values())

    def memory(self, server: str, cell: Cell) -> Spread | None:
        """Bytes after the load."""
        return _spread(visit.memory for visit in self.visits(server, cell).values())

    def ceiling(self) -> Spread | None:
        """Requests a second of the load generator alone, with the shortest answers."""
        return _spread(each.ceiling for each in self.calibrations.values() if each.cell == "echo")

    def machine_drift(self) -> float:
        """How many times as fast the machine was at its fastest as at its slowest, by the fixed loop."""
        loops = [each.loops for each in self.calibrations.values()]
        return max(loops) / min(loops) if loops else 1.0


def within_rounds(above: dict[int, float], below: dict[int, float]) -> Spread | None:
    """The ratio in each round that has both; a round in which nothing came has none."""
    return _spread(above[number] / below[number] for number in above.keys() & below.keys() if below[number] > 0)


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return spread(known) if known else None
