"""The lines that a run leaves behind: everything that the report says is in them. One JSON object a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from archiver.errors import ArchiveError

#: Stands where a cell's name does.
FAULTS = "faults"


class Run(msgspec.Struct, frozen=True, tag="run"):
    """The first line: when and where, and how thoroughly. `depth`: a name in cells.DEPTHS, whose rounds and seconds
    may have been asked for otherwise."""

    made: str
    depth: str
    rounds: int
    seconds: float
    machine: dict[str, Any]


class Installed(msgspec.Struct, frozen=True, tag="installed"):
    """What a server's environment has: package → version."""

    server: str
    versions: dict[str, str]


class Calibration(msgspec.Struct, frozen=True, tag="calibration"):
    """The machine just before the servers of a round and cell.

    `loops`: products of two 256 × 256 matrices a second. `milliseconds`, `rows`: the workload without a server, one
    row at a time and rows a second in full batches. `ceiling`: requests a second that the load generator reaches.
    """

    round: int
    cell: str
    loops: float
    milliseconds: float
    rows: float
    ceiling: float


class Level(msgspec.Struct, frozen=True):
    """One number of connections: answers a second; milliseconds; what failed, by kind."""

    connections: int
    throughput: float
    p50: float | None
    p99: float | None
    requests: int
    failures: dict[str, int]


class Visit(msgspec.Struct, frozen=True, tag="visit"):
    """A server in one cell of one round. `start`: seconds from the command to the first right answer, packing
    included. `memory`: bytes of all its processes after the load, shared pages counted once; None: not told."""

    round: int
    cell: str
    server: str
    start: float
    memory: int | None
    levels: list[Level]


class Absent(msgspec.Struct, frozen=True, tag="absent"):
    """What was to be measured and could not be, and why. `cell`: FAULTS for these, empty for the whole server."""

    cell: str
    server: str
    reason: str


class BadRow(msgspec.Struct, frozen=True, tag="badRow"):
    """One row that the model cannot take among eight requests at once. Statuses as text → how many."""

    server: str
    bad: dict[str, int]
    good: dict[str, int]
    malformed: str


class Killed(msgspec.Struct, frozen=True, tag="killed"):
    """SIGKILL for the only worker under an open load. `gap`: longest seconds without a successful answer;
    `recovered`: whether there was one in the last second."""

    server: str
    requests: int
    failures: dict[str, int]
    gap: float
    recovered: bool


Record: TypeAlias = Run | Installed | Calibration | Visit | Absent | BadRow | Killed
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class OtherLines(ArchiveError):
    """A file does not hold the records of this benchmark, as it is now."""

    code = "benchmarks/other-lines"


class Log:
    """A file of records that grows, so that an interrupted run can go on. Raises OtherLines."""

    def __init__(self, file: Path) -> None:
        self.file = file
        whole = file.read_bytes().rpartition(b"\n")[0].splitlines() if file.exists() else []
        self.records = [self._record(line) for line in whole]
        self._length = sum(len(line) + 1 for line in whole)

    def _record(self, line: bytes) -> Record:
        try:
            return _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise OtherLines(
                f"lines of another kind: {error}", where=self.file.name, hint="begin again with --fresh"
            ) from error

    def add(self, record: Record) -> None:
        """A last line that was cut off makes room."""
        line = msgspec.json.encode(record) + b"\n"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.touch()
        with self.file.open("r+b") as stream:
            stream.truncate(self._length)
            stream.seek(self._length)
            stream.write(line)
        self._length += len(line)
        self.records.append(record)

    def has(self, kind: type[Record], **wanted: Any) -> bool:
        """Whether there is a record of this kind with these values."""
        same = (each for each in self.records if isinstance(each, kind))
        return any(all(getattr(each, name) == value for name, value in wanted.items()) for each in same)
