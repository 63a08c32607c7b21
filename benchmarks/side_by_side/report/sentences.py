"""What the figures say, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.side_by_side.cells import DELAY_MS
from benchmarks.side_by_side.report.figures import Column, Results
from benchmarks.side_by_side.servers import OURS, SERVERS, Server, named
from runner.bench.figures import Spread
from runner.bench.render.table import figure, rate

#: Beyond this the machine itself was too unsteady for figures that are not ratios.
_STEADY = 1.25


def setting(results: Results) -> str:
    """One paragraph: where, when, how."""
    machine, depth = results.run.machine, results.depth
    torch = next((each["torch"] for each in results.installed.values()), "")
    threads = f"{results.run.made[:10]}. {machine['processor']}, {machine['cores']} cores, "
    where = f"{threads}{machine['memoryBytes'] / 1e9:.0f} GB, loopback, Python {machine['python']}, torch {torch}."
    batches = ", ".join(f"{cell.what.batch} ({cell.workload})" for cell in depth.cells if cell.workers == 1)
    thoroughly = f"{many(depth.rounds, 'round')} of {depth.seconds:g} s each"
    how = (
        "The same model code behind every server, one worker with one thread unless said, batches of at most "
        f"{batches}, maximum delay {DELAY_MS} ms. Medians of {thoroughly}; "
        "every server in turn within each round, its answers checked before the load."
    )
    return f"{where} {how}"


def workloads(results: Results) -> str:
    told = (f"{cell.workload}: {cell.what.told}" for cell in results.depth.cells if cell.workers == 1)
    return "; ".join(told) + "."


def steadiness(results: Results) -> str:
    drift, ceiling = results.machine_drift(), results.ceiling()
    told = (
        "" if ceiling is None else f"The load generator alone reaches {rate(ceiling.median)} requests a second. "
    ) + f"A fixed loop, timed before each round, ran {drift:.2f} × as fast at best as at worst"
    return (
        f"{told}."
        if drift <= _STEADY
        else f"{told}: the machine was not quiet, only ratios within rounds mean anything."
    )


def lists(results: Results) -> Iterator[tuple[str, list[str]]]:
    """What stands below the tables: title and lines."""
    yield "Where torch-archive is not ahead", shortfalls(results) or ["Nowhere in this run."]
    yield "How each is set up", setups(results)
    if missing := not_measured(results):
        yield "Not measured", missing


def shortfalls(results: Results) -> list[str]:
    """Where torch-archive is behind, or where the rounds do not show that it is ahead. A line per column."""
    columns = [*results.columns(workers=1), *results.columns(workers=2)]
    lines = [line for column in columns if (line := _of_column(results, column)) is not None]
    return [*lines, *_slower_starts(results), *_more_memory(results)]


def _of_column(results: Results, column: Column) -> str | None:
    others = [(server, results.ahead(server.name, column)) for server in results.servers if server.name != OURS]
    behind = [
        f"{server.title} answers {figure(1 / found.median)} × as many"
        for server, found in others
        if found is not None and found.high < 1
    ]
    level = [server.title for server, found in others if found is not None and found.low <= 1 <= found.high]
    parts = [*behind, *([f"no clear difference to {', '.join(level)}"] if level else [])]
    return f"{column.cell.name}, {many(column.connections, 'connection')}: {'; '.join(parts)}." if parts else None


def _slower_starts(results: Results) -> Iterator[str]:
    for cell in results.depth.cells:
        starts = {server: results.start(server.name, cell) for server in results.servers}
        yield from _less(
            f"{cell.name}: the first answer comes sooner from", starts, lambda seconds: f"{seconds:.1f} s"
        )


def _more_memory(results: Results) -> Iterator[str]:
    for cell in results.depth.cells:
        memory = {server: results.memory(server.name, cell) for server in results.servers}
        yield from _less(f"{cell.name}: less memory is taken by", memory, lambda size: f"{size / 1e6:.0f} MB")


def _less(what: str, values: Mapping[Server, Spread | None], text: Callable[[float], str]) -> Iterator[str]:
    """Who takes less than nine tenths of ours."""
    medians = {server: found.median for server, found in values.items() if found is not None}
    ours = next((median for server, median in medians.items() if server.name == OURS), 0.0)
    less = sorted((median, server.title) for server, median in medians.items() if median < 0.9 * ours)
    if less:
        yield f"{what} {', '.join(f'{title} ({text(median)})' for median, title in less)}; here {text(ours)}."


def setups(results: Results) -> list[str]:
    """How each server is set up, with its version."""
    versions = {server: installed.get(named(server).package, "") for server, installed in results.installed.items()}
    return [f"{server.title} {versions.get(server.name, '')}: {server.told}." for server in results.servers]


def not_measured(results: Results) -> list[str]:
    """Each server or cell that has no figure, or one of fewer rounds, with the reason."""
    absent = results.absent()
    told = [
        f"{named(each.server).title}{f', {each.cell},' if each.cell else ''} was not measured: {each.reason}."
        for each in absent
    ]
    known = {*(server.name for server in results.servers), *(each.server for each in absent)}
    waiting = [f"{each.title} has not been measured yet." for each in SERVERS if each.name not in known]
    return [*told, *waiting, *_fewer_rounds(results)]


def _fewer_rounds(results: Results) -> Iterator[str]:
    short = list(results.short_of_rounds())
    for count in sorted({count for _, _, count in short}):
        places = ", ".join(f"{server.title} ({cell.name})" for server, cell, each in short if each == count)
        yield f"Only {count} of {results.depth.rounds} rounds: {places}."


def many(count: int, what: str) -> str:
    """`1 round`, `3 rounds`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
