"""The measurement: every server in turn within each round. What is recorded is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.side_by_side import environments, load, offline
from benchmarks.side_by_side.cells import DELAY_MS, Depth, Turn, groups
from benchmarks.side_by_side.forms import PLAIN
from benchmarks.side_by_side.offline import Offline
from benchmarks.side_by_side.records import Absent, Calibration, Installed, Log, Visit
from benchmarks.side_by_side.running import DoesNotServe, Running
from benchmarks.side_by_side.servers import Server, named
from runner.bench.sender import Generator

Told = Callable[[str], None]
_CALIBRATION_SECONDS = 0.8


def run(log: Log, depth: Depth, servers: Sequence[Server], cache: Path, told: Told) -> None:
    """Add what is missing to the log."""
    usable = [server for server in servers if _is_usable(server, log, cache)]
    with Generator() as generator:
        for group in groups(depth, [server.name for server in usable]):
            due = [turn for turn in group if not _is_done(turn, log)]
            if due:
                _measure_group(generator, log, depth, due, cache, told)


def _is_usable(server: Server, log: Log, cache: Path) -> bool:
    reason = environments.lacking(server, cache)
    if reason is not None:
        log.add(Absent("", server.name, reason))
        return False
    if not log.has(Installed, server=server.name):
        log.add(Installed(server.name, environments.versions(server, cache)))
    return True


def _is_done(turn: Turn, log: Log) -> bool:
    return log.has(Visit, round=turn.round, cell=turn.cell.name, server=turn.server)


def _measure_group(
    generator: Generator, log: Log, depth: Depth, due: Iterable[Turn], cache: Path, told: Told
) -> None:
    """The turns of one round and cell, the machine calibrated before them."""
    first, *_ = due
    told(f"{first.cell.name}, round {first.round + 1} of {depth.rounds}: the machine, without a server")
    found = offline.measure(first.cell.workload, _CALIBRATION_SECONDS, cache)
    if not log.has(Calibration, round=first.round, cell=first.cell.name):
        log.add(_calibration(generator, first, found))
    for turn in due:
        try:
            visit = _visit(generator, depth, turn, found, cache)
        except DoesNotServe as error:
            log.add(Absent(turn.cell.name, turn.server, str(error)))
            told(f"  {turn.server}: {error}")
            continue
        log.add(visit)
        told(f"  {turn.server}: {_in_words(visit)}")


def _calibration(generator: Generator, turn: Turn, found: Offline) -> Calibration:
    """The generator's ceiling is measured with our own server's request."""
    body = PLAIN.body(turn.cell.what.samples()[0])
    ceiling = load.ceiling(generator, body, found.outputs[0], max(turn.cell.connections))
    return Calibration(turn.round, turn.cell.name, found.loops, found.milliseconds, found.rows, ceiling)


def _visit(generator: Generator, depth: Depth, turn: Turn, found: Offline, cache: Path) -> Visit:
    with Running(named(turn.server), turn.cell, found.outputs, DELAY_MS, cache) as running:
        counts = turn.cell.connections
        levels = [load.closed(generator, running, turn.cell, connections, depth) for connections in counts]
        running.check()
        return Visit(turn.round, turn.cell.name, turn.server, running.seconds, running.memory(), levels)


def _in_words(visit: Visit) -> str:
    rates = ", ".join(f"{level.throughput:,.0f}/s at {level.connections}" for level in visit.levels)
    failed = sum(sum(level.failures.values()) for level in visit.levels)
    return f"up in {visit.start:.1f} s, {rates}" + (f"; {failed} failed" if failed else "")
