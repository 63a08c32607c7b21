"""`archive profile`: parse, record, print, write."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from archiver.cli import console
from runner.cli.options import sent_input, sent_type
from runner.cli.overrides import overrides


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@sent_input
@sent_type
@click.option("--batch-size", type=click.IntRange(1), help="Rows of each batch. Default: the archive's batchSize.")
@click.option("--batches", default=10, show_default=True, type=click.IntRange(1), help="Batches to record.")
@click.option("--device", help="cpu, cuda or mps; default: what the config declares.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a config key; repeatable.")
@click.option("--trust", is_flag=True, help="Let checkpoints unpickle beyond torch's weights_only allow-list.")
@click.option("--no-try", is_flag=True, help="Measure no changes: what they could bring is estimated.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    help="Where trace, page and figures go. Default: NAME-profile.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def profile(
    archive: Path,
    source: Path | None,
    content_type: str | None,
    batch_size: int | None,
    batches: int,
    device: str | None,
    settings: tuple[str, ...],
    trust: bool,
    no_try: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Show where a batch's time goes: stages, operators, modules, padding, copies; and what would change it.

    Runs the model as a server here would, in a process of its own, and records batches with torch.profiler. Then
    tries the changes that the figures suggest, each against the model as it is, and names the three that bring most.
    Writes a trace for Perfetto, a page, and the figures. Ctrl-C while changes are tried keeps what was measured.
    """
    from msgspec import to_builtins

    from runner.profile.files import write
    from runner.profile.render.text import text
    from runner.profile.run import Asked, profile

    asked = Asked(
        archive=archive,
        input=source,
        content_type=content_type,
        device=device,
        batch=batch_size,
        batches=batches,
        flags=overrides({}, settings),
        trust=trust,
        tries=not no_try,
    )
    with tempfile.TemporaryDirectory(prefix="archive-profile-") as made:
        with console.working() as told:
            report = profile(asked, Path(made), told)
        if as_json:
            console.out_json(to_builtins(report))
        else:
            console.out(text(report))
        # Written last: a full disk does not cost what was measured.
        for file in write(report, Path(made), folder or Path(f"{archive.name.partition('.')[0]}-profile")):
            console.note(f"{file}")
    if report.stopped is not None:
        console.note(f"ended early, what was measured is above: {report.stopped}")
        sys.exit(1)
