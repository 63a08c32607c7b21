"""The tables of the report. Pure; Markdown and HTML show the same cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.side_by_side.records import BadRow, Killed
from benchmarks.side_by_side.report.figures import Column, Results
from benchmarks.side_by_side.servers import OURS, Server
from runner.bench.figures import Spread
from runner.bench.render.table import figure, ms, rate

NOTHING = "–"
_SUCCESS = "Successful answers."
_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Table:
    """`told`: a sentence under the title. The first column is a name. `best`: row and column of what leads."""

    title: str
    told: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()


def of(results: Results) -> Iterator[Table]:
    """All that there are lines for."""
    yield throughput(results, workers=1)
    yield _latency(results)
    yield _ahead(results)
    yield _of_limit(results)
    if results.columns(workers=2):
        yield throughput(results, workers=2)
    yield _resources(results)
    if any(isinstance(each, BadRow | Killed) for each in results.records):
        yield _faults(results)
    if any(results.failed(server.name, column) for server in results.servers for column in _all(results)):
        yield _failed(results)


def throughput(results: Results, workers: int) -> Table:
    columns = results.columns(workers)
    found = {server: [results.throughput(server.name, column) for column in columns] for server in results.servers}
    rows = [(server.title, *map(_rate, values)) for server, values in found.items()]
    medians = [[0.0 if each is None else each.median for each in values] for values in found.values()]
    best = frozenset(
        (row, at + 1) for at, column in enumerate(zip(*medians, strict=True)) for row in _leaders(column)
    )
    if workers > 1:
        return Table(f"Requests per second, {workers} workers", _SUCCESS, _heads(columns), tuple(rows), best)
    rows.append(("the same code in a loop", *(_rate(results.limit(column)) for column in columns)))
    loop = "The loop has no server: one row at a time for one connection, else full batches."
    return Table("Requests per second", f"{_SUCCESS} {loop}", _heads(columns), tuple(rows), best)


def _leaders(values: Sequence[float]) -> Iterator[int]:
    """Where the highest of them stand; nowhere when nothing was measured."""
    return (place for place, value in enumerate(values) if value == max(values) > 0)


def _rate(found: Spread | None) -> str:
    return NOTHING if found is None else rate(found.median)


def _latency(results: Results) -> Table:
    def cell(server: Server, column: Column) -> str:
        p50 = results.latency(server.name, column, lambda level: level.p50)
        p99 = results.latency(server.name, column, lambda level: level.p99)
        return NOTHING if p50 is None or p99 is None else f"{ms(p50.median)} / {ms(p99.median)}"

    return _by_column(results, "Milliseconds, p50 / p99", "Closed loop: each connection waits for its answer.", cell)


def _ahead(results: Results) -> Table:
    def cell(server: Server, column: Column) -> str:
        found = results.ahead(server.name, column)
        if found is None:
            return NOTHING
        apart = f" ({figure(found.low)} to {figure(found.high)})" if found.low < found.high else ""
        return f"{figure(found.median)}{apart}"

    told = "Requests of torch-archive for one of the other's: the median of the rounds, lowest and highest."
    return _by_column(results, "torch-archive / other", told, cell, with_us=False)


def _of_limit(results: Results) -> Table:
    def cell(server: Server, column: Column) -> str:
        found = results.of_limit(server.name, column)
        return NOTHING if found is None else f"{found.median:.2f}"

    told = (
        "1 is what the loop reaches, JSON read and written. More is possible where a server does its JSON in another "
        "process than the model."
    )
    return _by_column(results, "Share of the offline loop", told, cell)


def _resources(results: Results) -> Table:
    cells = [cell for cell in results.depth.cells if cell.workers == 1]

    def texts(server: Server) -> Iterator[str]:
        for cell in cells:
            memory, start = results.memory(server.name, cell), results.start(server.name, cell)
            yield NOTHING if memory is None else f"{memory.median / _MEGABYTE:.0f} MB"
            yield NOTHING if start is None else f"{start.median:.1f} s"

    heads = ("", *(f"{cell.name}, {what}" for cell in cells for what in ("memory", "start")))
    told = (
        "Memory of all processes after the load, shared pages counted once; seconds from the start command to the "
        "first right answer, packing included."
    )
    return Table("Memory and start", told, heads, tuple((each.title, *texts(each)) for each in results.servers))


def _faults(results: Results) -> Table:
    bad = {each.server: each for each in results.records if isinstance(each, BadRow)}
    killed = {each.server: each for each in results.records if isinstance(each, Killed)}
    rows = (
        (server.title, *_bad_cells(bad.get(server.name)), _killed_cell(killed.get(server.name)))
        for server in results.servers
        if server.name in bad or server.name in killed
    )
    told = (
        "mlp, one worker. Eight requests at once, one of them a row of 255 floats, three times. JSON that is cut "
        "off. SIGKILL for the worker, while 32 clients ask 100 times a second; in the plain app and PyTriton "
        "it is the server, in which the model lives."
    )
    heads = ("", "the bad row", "the other seven", "cut-off JSON", "killed worker")
    return Table("Faults", told, heads, tuple(rows))


def _bad_cells(found: BadRow | None) -> tuple[str, str, str]:
    if found is None:
        return (NOTHING, NOTHING, NOTHING)
    return (_counted(found.bad), _counted(found.good), found.malformed)


def _killed_cell(found: Killed | None) -> str:
    if found is None:
        return NOTHING
    failed = sum(found.failures.values())
    kinds = f" ({_counted(found.failures)})" if failed else ""
    after = "" if found.recovered else ", never back"
    return f"{failed} of {found.requests:,} failed{kinds}, {found.gap:.1f} s without an answer{after}"


def _counted(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items(), key=lambda pair: -pair[1]))


def _failed(results: Results) -> Table:
    def cell(server: Server, column: Column) -> str:
        return str(results.failed(server.name, column) or NOTHING)

    told = "Requests without a successful answer under load, all rounds together."
    return _by_column(results, "Failures", told, cell)


def _by_column(
    results: Results, title: str, told: str, cell: Callable[[Server, Column], str], *, with_us: bool = True
) -> Table:
    servers = [server for server in results.servers if with_us or server.name != OURS]
    columns = results.columns(workers=1)
    rows = tuple((server.title, *(cell(server, column) for column in columns)) for server in servers)
    return Table(title, told, _heads(columns), rows)


def _heads(columns: list[Column]) -> tuple[str, ...]:
    """The first number of each workload says what it counts."""
    units = (" conn." if column.connections == column.cell.connections[0] else "" for column in columns)
    return (
        "",
        *(f"{each.cell.workload}, {each.connections}{unit}" for each, unit in zip(columns, units, strict=True)),
    )


def _all(results: Results) -> list[Column]:
    return [*results.columns(workers=1), *results.columns(workers=2)]
