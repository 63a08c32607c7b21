"""The one place that prints, colours, shows progress and turns errors into exit codes.

Results go to stdout, everything else to stderr, so that pipes carry results alone. Colour and progress bars
appear on a terminal only; NO_COLOR is honoured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from archiver.errors import EXTRAS, ArchiveError, InvalidInput, MissingExtra

if TYPE_CHECKING:
    from archiver.config.findings import Finding

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def out(text: str = "") -> None:
    """A line of the command's result."""
    click.echo(text)


def out_json(value: Any) -> None:
    """The command's result as JSON, for `--json`."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    click.echo(text, err=True)


def bold(text: str) -> str:
    return click.style(text, bold=True)


def dim(text: str) -> str:
    return click.style(text, dim=True)


def finding_text(finding: Finding) -> str:
    """`file:line:column: severity: message [code]` and a hint line, as editors and people read it."""
    severity = finding.severity.value
    head = f"{finding.where}: {click.style(severity + ':', fg=_COLOURS[severity], bold=True)} {finding.message}"
    hint = f"\n{click.style('hint:', fg='cyan')} {finding.hint}" if finding.hint else ""
    return f"{head} {dim('[' + finding.code + ']')}{hint}"


def show_error(error: ArchiveError) -> None:
    """Print one of our errors the house way: findings first, the sentence, a blank line, the hint."""
    if isinstance(error, InvalidInput):
        for finding in error.findings:
            note(finding_text(finding))
    note(f"{click.style('error:', fg='red', bold=True)} {error}")
    if error.hint:
        note(f"\n{click.style('hint:', fg='cyan')} {error.hint}")


def fail(error: ArchiveError) -> NoReturn:
    """Print the error and leave with its exit code."""
    show_error(error)
    sys.exit(error.exit_code)


@contextmanager
def guard() -> Iterator[None]:
    """Turn the errors that people can act on into messages and exit codes; a bug keeps its traceback."""
    try:
        yield
    except ArchiveError as error:
        fail(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRAS:
            raise
        fail(MissingExtra(error.name.partition(".")[0], _command_in(sys.argv)))
    except BrokenPipeError:
        # The reader of our output (`| head`) went away; Python would complain again while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _command_in(argv: list[str]) -> str:
    return next((word for word in argv[1:] if not word.startswith("-")), "")


def size(count: int) -> str:
    """Bytes for people: 930 B, 45.1 kB, 1.2 GB (powers of 1000, as disks and networks are sold)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A byte progress bar with speed on a terminal, nothing elsewhere. Yields `advance(bytes)`."""
    if not sys.stderr.isatty() or total < 8_000_000:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A spinner with what is being done, on a terminal; nothing elsewhere. Yields `told(what)`."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
