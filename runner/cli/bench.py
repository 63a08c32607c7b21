"""`archive bench`: parse, measure, print."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import console
from archiver.errors import ArchiveError, UsageError
from runner.asking import Target, target_of
from runner.cli.overrides import overrides

if TYPE_CHECKING:
    from runner.bench.report import Report
    from runner.bench.sender import Way

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
@click.option(
    "--input",
    "-i",
    "source",
    type=click.Path(path_type=Path),
    help="File, folder, or JSON lines (.jsonl), sent in turn. Default: the archive's samples.",
)
@click.option("--content-type", help="What the input holds; guessed from its suffix otherwise.")
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
    own. Ctrl-C ends it and keeps what was measured. The exit code is 1 when a request failed.
    """
    if compared is not None:
        _compare(*compared, tolerance, as_json)
        return
    from runner.bench.run import Asked, Bench
    from runner.bench.sender import Way

    named = {} if workers is None else {"minWorkers": workers, "maxWorkers": workers}
    asked = Asked(
        archive=archive,
        url=_target(url, archive),
        ways=_ways(concurrency, rate, Way(None, None, connections, warmup, duration, requests, timeout)),
        repeats=repeats,
        input=source,
        content_type=content_type,
        headers=dict(map(_header, headers)),
        arguments=_arguments(workers, settings, trust),
        flags=overrides(named, settings),
        trust=trust,
        limit=not no_limit,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with console.working() as told:
        measured = Bench(asked, told)
        measured.run()
    _show(measured.report, folder, as_json)


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


def _target(url: str | None, archive: Path | None) -> Target | None:
    if url is None:
        if archive is None:
            raise UsageError("nothing to measure", hint="archive bench model.mar, or --url URL --input FILE")
        return None
    target = target_of(url if "://" in url else f"http://{url}", "", 0, None)
    if target.scheme != "http":
        raise UsageError("the load generator speaks plain HTTP only", hint="--url http://…")
    if target.path != "/":
        return target
    if archive is None:
        raise UsageError(f"{url} does not say which model", hint=f"--url {target.address}/predictions/NAME")
    from archiver.store import unpack

    return target_of(f"{target.address}/predictions/{unpack(archive).manifest.model_name}", "", 0, None)


def _ways(concurrency: str | None, rate: str | None, common: Way) -> tuple[Way, ...]:
    from dataclasses import replace

    if concurrency is None and rate is None:
        concurrency = _CONCURRENCY
    if rate is not None and common.count is not None:
        raise UsageError("--requests is for a closed loop; an open one lasts --duration")
    closed = [replace(common, concurrency=int(n)) for n in _numbers("--concurrency", concurrency, whole=True)]
    return (*closed, *(replace(common, rate=each) for each in _numbers("--rate", rate, whole=False)))


def _numbers(option: str, text: str | None, *, whole: bool) -> list[float]:
    try:
        found = [float(int(part) if whole else float(part)) for part in (text or "").split(",") if part.strip()]
    except ValueError:
        found = [0.0]
    if any(not 0 < each < float("inf") for each in found) or (text is not None and not found):
        raise UsageError(f"{option} {text}: expected numbers above 0 with commas", hint=f"{option} {_CONCURRENCY}")
    return found


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip() or "\n" in text or "\r" in text:
        raise UsageError(f"--header {text!r}: expected 'NAME: VALUE'")
    return name.strip(), value.strip()


def _arguments(workers: int | None, settings: tuple[str, ...], trust: bool) -> tuple[str, ...]:
    """For `archive serve`."""
    count = [] if workers is None else ["--workers", str(workers)]
    sets = [word for setting in settings for word in ("--set", setting)]
    return (*count, *sets, *(["--trust"] if trust else []))


def _show(report: Report, folder: Path | None, as_json: bool) -> None:
    """Print first, then write: a full disk does not cost what was measured."""
    from runner.bench.files import write
    from runner.bench.render.text import text
    from runner.bench.report import plain

    if not report.measured:
        raise ArchiveError(f"nothing was measured: {report.stopped or 'no round had a request'}")
    if as_json:
        console.out_json(plain(report))
    else:
        console.out(text(report))
    for file in write(report, folder) if folder is not None else ():
        console.note(f"{file}")
    if report.stopped is not None:
        raise ArchiveError(f"ended early, what was measured is above: {report.stopped}")
    if any(level.failures for level in report.measured):
        sys.exit(1)
