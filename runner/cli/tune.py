"""`archive tune`: parse, search, print, write."""

from __future__ import annotations

import math
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import console
from archiver.errors import ArchiveError, UsageError
from archiver.pack import refuse_existing
from runner.cli.options import sent_input, sent_type
from runner.cli.overrides import overrides

if TYPE_CHECKING:
    from runner.tune.report import TuneReport
    from runner.tune.run import Tune

_OBJECTIVES = ("throughput", "latency", "cost")


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--sla-p99", "sla", metavar="TIME", help="The p99 that a configuration must keep to, as 100ms or 1.5s.")
@click.option(
    "--objective",
    default="throughput",
    show_default=True,
    type=click.Choice(_OBJECTIVES),
    help="What is best, see above.",
)
@click.option(
    "--budget", default="10m", show_default=True, metavar="TIME", help="Time for the search, as 90s or 10m."
)
@click.option("--devices", metavar="LIST", help="cpu, cuda, mps; default: where the archive runs here.")
@click.option(
    "--precisions",
    metavar="LIST",
    help="fp32, bf16, fp16, tf32, or schemes of quantization as int8-dynamic; default: as declared, and the shorter "
    "ones that the device may know.",
)
@click.option("--batch-sizes", metavar="N,...", help="Default: 1,4,8,16,32 and the archive's own.")
@click.option("--workers", metavar="N,...", help="Worker processes; default: 1, 2, 4 ... up to the cores.")
@click.option("--threads", metavar="N,...", help="Threads of each worker; default: 1, 2, 4 ... up to the cores.")
@click.option("--compile", "compiled", metavar="LIST", help="off, on; default: both.")
@click.option(
    "--concurrency", metavar="N,...", help="Closed loop: these levels instead of a search for the best one."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Open loop: so many requests a second, for --objective latency and cost.",
)
@sent_input
@sent_type
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a config key for all; repeatable.")
@click.option("--trust", is_flag=True, help="Let checkpoints unpickle beyond torch's weights_only allow-list.")
@click.option(
    "--resume/--fresh",
    default=True,
    help="Use what an earlier run has measured of the same archive on the same machine, or measure anew. Default: "
    "--resume.",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the measurements; default: in the cache.",
)
@click.option("--seed", default=0, show_default=True, help="Of the schedules of an open loop.")
@click.option("--report", "folder", type=click.Path(path_type=Path), help="Write HTML, JSON, Markdown and CSV there.")
@click.option(
    "--write",
    "-o",
    "target",
    type=click.Path(path_type=Path),
    help="Write a new archive with the best configuration; the original is never touched.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an archive that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def tune(
    archive: Path,
    sla: str | None,
    objective: str,
    budget: str,
    devices: str | None,
    precisions: str | None,
    batch_sizes: str | None,
    workers: str | None,
    threads: str | None,
    compiled: str | None,
    concurrency: str | None,
    rate: float | None,
    source: Path | None,
    content_type: str | None,
    settings: tuple[str, ...],
    trust: bool,
    resume: bool,
    state: Path | None,
    seed: int,
    folder: Path | None,
    target: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Find the best configuration of a model on this machine under a limit on its p99.

    \b
    --objective throughput  the most answers a second at any concurrency whose p99 is within the limit
                latency     the lowest p99 at the load that is asked for (--rate, or --concurrency, else 1)
                cost        the fewest core-seconds of the whole server per answer within the limit

    Measures the model alone first, by device, precision, compilation, threads and batch size, which rules most
    configurations out; then real servers under load, short trials for those that are left and longer ones for the
    best. Precisions, schemes and compiled code whose answers `verify` would not let pass are left out. Ctrl-C ends
    the search with the best so far. The exit code is 1 when no configuration is within the limit.
    """
    _refuse(archive, target, force=force)
    from runner.tune import asked as words
    from runner.tune.live import board
    from runner.tune.run import Asked, Tune

    asked = Asked(
        archive=archive,
        goal=words.goal(objective, sla, concurrency, rate),
        wanted=words.wanted(devices, precisions, compiled, batch_sizes, workers, threads),
        budget=words.seconds("--budget", budget, "10m"),
        input=source,
        content_type=content_type,
        settings=settings,
        flags=overrides({}, settings),
        trust=trust,
        state=state,
        fresh=not resume,
        seed=seed,
    )
    # Also where a shell has started us in the background, with SIGINT ignored: a server would be left behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="archive-tune-") as made:
        with board() as shown:
            found = Tune(asked, shown, Path(made))
            found.run()
        _finish(found, folder, target, as_json=as_json)


def _refuse(archive: Path, target: Path | None, *, force: bool) -> None:
    """Before anything is measured. Raises UsageError, OutputExists."""
    if target is None:
        return
    if target.exists() and target.resolve() == archive.resolve():
        raise UsageError("the original is never replaced", hint="name another file: --write FILE")
    refuse_existing(target, force=force)


def _finish(found: Tune, folder: Path | None, target: Path | None, *, as_json: bool) -> None:
    """Print first, then write: a full disk does not cost what was measured. Raises ArchiveError for exit code 1."""
    from runner.tune.files import write
    from runner.tune.render.rows import verdict
    from runner.tune.render.text import text
    from runner.tune.report import plain

    report = found.report
    if as_json:
        console.out_json(plain(report))
    elif report.tried:
        console.out(text(report))
    for file in write(report, folder) if folder is not None else ():
        console.note(f"{file}")
    if report.chosen is None:
        raise _nothing(report)
    if not report.chosen.met:
        more = "a larger limit, other --batch-sizes, --workers, --precisions, or a smaller model"
        raise ArchiveError(verdict(report), hint=f"--sla-p99 {math.ceil(report.chosen.reading.p99 * 1.1)}ms, {more}")
    if report.stopped is not None:
        console.note(f"note: {report.stopped}; this is the best so far, a later run goes on from here")
    if target is not None:
        _write(found, target, report.chosen.yaml)


def _nothing(report: TuneReport) -> ArchiveError:
    """Why there is no result."""
    from runner.tune.render.rows import too_slow_alone

    failed = next((each.reason for each in report.tried if each.state == "failed"), None)
    if report.stopped is not None:
        return ArchiveError(f"nothing was measured: {report.stopped}")
    slow = too_slow_alone(report)
    if slow is not None:
        return ArchiveError(slow, hint="a larger limit, or a smaller model")
    if failed is not None:
        return ArchiveError(f"no server could be measured: {failed}")
    if report.seconds >= report.budget:
        hint = f"a longer --budget, fewer --precisions, or --compile off; {report.state} keeps what was measured"
        return ArchiveError(f"the budget of {report.budget:g} s was used up before a server was measured", hint=hint)
    out = next((each.reason for each in report.tried), "there is no candidate")
    return ArchiveError(f"no candidate is left to measure: {out}")


def _write(found: Tune, target: Path, config: str) -> None:
    from runner.offline.reconfigured import child_of
    from runner.tune.written import write

    write(found.opened, child_of(found.original, found.archive), target, config, console.progress)
    if found.original.manifest.precompiled:
        console.note("note: the compiled code was made for other settings and left out; `archive optimize` makes it")
    console.note(f"{target}")
