"""`archive scan`: what in an archive runs code, found without running it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from archiver.cli import console
from archiver.errors import ArchiveError
from archiver.scan.found import INSIDE, Found, unjudged
from archiver.scan.scan import Report
from archiver.scan.scan import scan as scanned

_COLOURS = {"refused": "red", "runs": "yellow", "plain": "yellow", "safe": "green"}
_SHOWN_GLOBALS = 6


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def scan(files: tuple[Path, ...], as_json: bool) -> None:
    """List what runs code when archives, folders, checkpoints or pickles are opened. Nothing in them is run.

    The gate is torch's own list of what weights_only loading calls: what is not on it is refused and named, by
    any file name and in archives inside archives. Handlers, TorchScript, .pt2 and libraries are listed as code.

    Exit codes: 0 nothing refused, 1 something is, 2 usage.
    """
    reports = [_report(file) for file in files]
    if as_json:
        console.out_json([_as_json(report) for report in reports])
    else:
        for line in (line for report in reports for line in _lines(report)):
            console.out(line)
    sys.exit(1 if any(report.verdict == "refused" for report in reports) else 0)


def _report(file: Path) -> Report:
    """An archive that cannot be opened is refused as a whole."""
    try:
        return scanned(file)
    except ArchiveError as error:
        return Report(file, (unjudged(file.name, "archive", error.message),))


def _as_json(report: Report) -> dict[str, object]:
    entries = [each.to_json() for each in report.found]
    return {"path": str(report.path), "verdict": report.verdict, "entries": entries}


def _lines(report: Report) -> Iterator[str]:
    count = sum(1 for each in report.found if each.verdict == "refused" and each.refused)
    told = f"{count} refused" if count else "nothing refused"
    yield f"{console.bold(str(report.path))}  {click.style(told, fg='red' if count else 'green')}"
    width = max((len(_name(each)) for each in report.found), default=0)
    for each in report.found:
        verdict = click.style(f"{each.verdict:<8}", fg=_COLOURS.get(each.verdict))
        yield f"  {_name(each):<{width}}  {verdict} {each.kind:<8} {_about(each)}".rstrip()
        for refusal in each.refused:
            what = f"{refusal.module}.{refusal.name} {refusal.why}" if refusal.module else refusal.why
            yield f"  {'':<{width}}  {click.style('refused:', fg='red')} {what}"


def _name(each: Found) -> str:
    """Entries of an entry are set in below it, in their own names."""
    return "  " * each.depth + each.entry.rpartition(INSIDE)[2] if each.depth else each.entry


def _about(each: Found) -> str:
    if each.about or each.refused or not each.globals:
        return each.about
    more = len(each.globals) - _SHOWN_GLOBALS
    return f"calls {', '.join(each.globals[:_SHOWN_GLOBALS])}{f' and {more} more' if more > 0 else ''}"
