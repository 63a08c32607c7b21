"""torch-archive beside other servers: prepare environments, run the measurement, report.

`run` goes on where the last one stopped. `report` rewrites the page, the chart and the marked parts of REPORT.md and
README.md from the recorded lines; with --quick or --only it writes page and chart beside the lines and leaves these.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from archiver.cli import console
from archiver.errors import NotFound, UsageError
from benchmarks.side_by_side import environments, faults, report, rounds
from benchmarks.side_by_side.cells import FULL, QUICK, Depth
from benchmarks.side_by_side.records import Log, Run
from benchmarks.side_by_side.servers import PLAIN_APP, PROJECT, SERVERS, Server
from runner.bench import machine

RESULTS = PROJECT / "benchmarks" / "results"
STEPS = ("prepare", "run", "report")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server of the moment is stopped, too
    asked = _arguments()
    with console.guard():
        try:
            _run(asked)
        except KeyboardInterrupt:
            console.note("interrupted; the same command goes on from here")
            sys.exit(130)


def _run(asked: argparse.Namespace) -> None:
    servers = [server for server in SERVERS if not asked.only or server.name in asked.only]
    steps = STEPS if asked.step is None else (asked.step,)
    depth = _depth(asked)
    lines = RESULTS / f"side-by-side{'-quick' if asked.quick else ''}.jsonl"
    if "prepare" in steps:
        _prepare(servers, asked.cache)
    if "run" in steps:
        with _alone():
            log = _log(lines, depth, asked.fresh)
            rounds.run(log, depth, servers, asked.cache, console.note)
            if depth.faults:
                faults.run(log, servers, asked.cache, console.note)
    if "report" in steps:
        _report(lines, aside=asked.quick or bool(asked.only))


def _depth(asked: argparse.Namespace) -> Depth:
    usual = QUICK if asked.quick else FULL
    return replace(usual, rounds=asked.rounds or usual.rounds, seconds=asked.seconds or usual.seconds)


def _prepare(servers: list[Server], cache: Path) -> None:
    for server in {server.name: server for server in (PLAIN_APP, *servers)}.values():
        console.note(f"preparing {server.name}")
        try:
            environments.prepare(server, cache)
        except environments.CannotPrepare as error:
            console.note(f"  {server.name} cannot be measured: {error}")


def _report(lines: Path, *, aside: bool) -> None:
    records = Log(lines).records
    if not records:
        raise NotFound("nothing was measured yet", hint="python -m benchmarks.side_by_side run")
    for file in report.write_aside(records, lines.parent) if aside else report.write(records):
        console.out(str(file.relative_to(PROJECT)))


@contextmanager
def _alone() -> Iterator[None]:
    """Raises UsageError when another run is at work."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / ".lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("another run is at work: the two would measure each other") from None
        yield


def _log(lines: Path, depth: Depth, fresh: bool) -> Log:
    """The lines to go on with. Raises UsageError when they are of another machine, or were measured otherwise."""
    if fresh and lines.exists():
        lines.replace(lines.with_suffix(".before.jsonl"))
    log, here = Log(lines), machine.describe()
    if not log.has(Run):
        log.add(Run(machine.now(), depth.name, depth.rounds, depth.seconds, here))
    (begun,) = (each for each in log.records if isinstance(each, Run))
    same = (begun.rounds, begun.seconds) == (depth.rounds, depth.seconds)
    if not same or any(begun.machine[what] != here[what] for what in ("processor", "cores", "torch")):
        was = f"{begun.rounds} × {begun.seconds:g} s on {begun.machine['processor']}"
        raise UsageError(f"{lines.relative_to(PROJECT)} was begun otherwise: {was}", hint="begin again with --fresh")
    return log


def _arguments() -> argparse.Namespace:
    names = [server.name for server in SERVERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("step", nargs="?", choices=STEPS, help="without a word all three, in turn")
    parser.add_argument("--quick", action="store_true", help="one short round, one worker, no faults")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}; repeatable"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"usual: {FULL.rounds}")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"of each measurement, usual: {FULL.seconds:g}")
    parser.add_argument("--fresh", action="store_true", help="begin again; what was measured stays as .before.jsonl")
    parser.add_argument("--cache", type=Path, default=environments.CACHE, help="where the environments are")
    return parser.parse_args()


if __name__ == "__main__":
    main()
