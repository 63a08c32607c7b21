"""`archive bench`: parse, measure, print."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import console
from archiver.errors import ArchiveError, UsageError
from runner.cli.options import sent_input, sent_type
from runner.cli.overrides import overrides

if TYPE_CHECKING:
    from runner.bench.asked import Asked
    from runner.bench.report import Report

_SECONDS = click.FloatRange(min=0, min_open=True)
_CONCURRENCY = "1,16,64"


@click.command()
@click.argument("archive", required=False, type=click.Path(path_type=Path))
@click.option("--url", help="A server that runs already; its address, or that of the model's predictions.")
@click.option(
    "--concurrency", metavar="N,...", help=f"Closed loop: so many requests at a time. Default: {_CONCURRENCY}."
)
@click.option("--rate", metavar="R,...", help="Open loop: so many requests a second, whatever the server does.")
@click.option("--duration", default=5.0, show_default=True, type=_SECONDS, help="Seconds of each round.")
@click.option("--requests", type=click.IntRange(1), help="Requests of each round, instead of --duration.")
@click.option("--warmup", default=1.0, show_default=True, type=click.FloatRange(0), help="Seconds before each round.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="Rounds of each load.")
@click.option("--connections", default=256, show_default=True, type=click.IntRange(1), help="Most, in an open loop.")
@click.option("--timeout", default=30.0, show_default=True, type=_SECONDS, help="Seconds that an answer may take.")
@sent_input
@sent_type
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with every request; repeatable."
)
@click.option("--workers", type=click.IntRange(1), help="Worker processes of the server.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a config key; repeatable.")
@click.option("--trust", is_flag=True, help="Let checkpoints unpickle beyond torch's weights_only allow-list.")
@click.option("--no-limit", is_flag=True, help="Do not measure the handler alone.")
@click.option("--report", "folder", type=click.Path(path_type=Path), help="Write HTML, JSON, Markdown and CSV there.")
@click.option(
    "--compare",
    "compared",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A B",
    help="Compare two reports instead; the exit code is 1 when B is worse than A.",
)
@click.option(
    "--tolerance", default=0.05, show_default=True, type=click.FloatRange(0), help="Part of A that may be lost."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def bench(
    archive: Path | None,
    url: str | None,
    concurrency: str | None,
    rate: str | None,
    duration: float,
    requests: int | None,
    warmup: float,
    repeats: int,
    connections: int,
    timeout: float,
    source: Path | None,
    content_type: str | None,
    headers: tuple[str, ...],
    workers: int | None,
    settings: tuple[str, ...],
    trust: bool,
    no_limit: bool,
    folder: Path | None,
    compared: tuple[Path, Path] | None,
    tolerance: float,
    as_json: bool,
) -> None:
    """Measure a model under load: throughput, latencies, where the time goes, and how near the model's own speed.

    Starts a server of ARCHIVE and stops it in the end, or asks the one at --url. The load comes from a process of its
    own. Ctrl-C ends it and keeps what was measured. The exit code is 1 when a request failed. A YAML file of
    TorchServe's benchmark in place of ARCHIVE measures every combination that it declares.
    """
    if compared is not None:
        _compare(*compared, tolerance, as_json)
        return
    from runner.bench.asked import Asked, header_of, serve_arguments, target_at, ways_of
    from runner.bench.plan import ENDINGS
    from runner.bench.sender import Way

    named = {} if workers is None else {"minWorkers": workers, "maxWorkers": workers}
    asked = Asked(
        archive=archive,
        url=target_at(url, archive),
        ways=ways_of(concurrency, rate, Way(None, None, connections, warmup, duration, requests, timeout)),
        repeats=repeats,
        input=source,
        content_type=content_type,
        headers=dict(map(header_of, headers)),
        arguments=serve_arguments(workers, settings, trust),
        flags=overrides(named, settings),
        trust=trust,
        limit=not no_limit,
    )
    # Also where a shell has started us in the background, with SIGINT ignored: a server would be left behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if archive is not None and archive.suffix in ENDINGS:
        _measure_all(archive, asked, folder, as_json)
    else:
        _measure(asked, folder, as_json)


def _measure(asked: Asked, folder: Path | None, as_json: bool) -> None:
    """Print first, then write: a full disk does not cost what was measured. Raises ArchiveError, exits with 1."""
    from runner.bench.files import write
    from runner.bench.report import plain

    report = _measured(asked)
    if not report.measured:
        raise ArchiveError(f"nothing was measured: {report.stopped or 'no round had a request'}")
    if as_json:
        console.out_json(plain(report))
    else:
        _print(report)
    for file in write(report, folder) if folder is not None else ():
        console.note(f"{file}")
    if report.stopped is not None:
        raise ArchiveError(f"ended early, what was measured is above: {report.stopped}")
    if report.has_failures:
        sys.exit(1)


def _measure_all(plan: Path, common: Asked, folder: Path | None, as_json: bool) -> None:
    """Every bench of a plan. One that cannot be measured is told, and the others go on."""
    from runner.bench.files import write, write_all
    from runner.bench.plan import cases
    from runner.bench.report import plain

    if common.url is not None:
        raise UsageError("a plan starts its own servers", hint=f"archive bench {plan}, without --url")
    found, failed = {}, False
    for case in cases(plan, common):
        console.note(console.bold(case.name))
        try:
            found[case.name] = report = _measured(case.asked)
        except ArchiveError as error:
            console.show_error(error)
            failed = True
            continue
        if not report.measured:
            raise ArchiveError(f"{case.name}: nothing was measured: {report.stopped or 'no round had a request'}")
        if not as_json:
            _print(report)
        if folder is not None:
            write(report, folder / case.name)
            write_all(list(found.values()), folder)
        failed = failed or report.has_failures
        if report.stopped is not None:
            raise ArchiveError(f"{case.name} ended early, what was measured is above: {report.stopped}")
    if as_json:
        console.out_json({name: plain(report) for name, report in found.items()})
    if failed:
        sys.exit(1)


def _measured(asked: Asked) -> Report:
    from runner.bench.run import Bench

    with console.working() as told:
        bench = Bench(asked, told)
        bench.run()
    return bench.report


def _print(report: Report) -> None:
    from runner.bench.render.text import text

    console.out(text(report))


def _compare(before: Path, after: Path, tolerance: float, as_json: bool) -> None:
    from dataclasses import asdict

    from runner.bench.compare import differences, unlike
    from runner.bench.render.text import comparison
    from runner.bench.report import read

    one, other = read(before), read(after)
    found = differences(one, other)
    if not found:
        raise ArchiveError(f"{before} and {after} have no load in common")
    if as_json:
        console.out_json([{**asdict(each), "beyond": each.is_beyond(tolerance)} for each in found])
    else:
        console.out(comparison(found, tolerance))
    for sentence in unlike(one, other):
        console.note(f"note: {sentence}")
    if any(each.is_beyond(tolerance) for each in found):
        sys.exit(1)
