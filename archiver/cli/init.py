"""`archive init [--template NAME] DIR`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from archiver.cli import console
from archiver.scaffold import Scaffold, scaffold, templates


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--template",
    "-t",
    type=click.Choice(templates()),
    default="classifier",
    show_default=True,
    help="What the project is like.",
)
@click.option("--force", "-f", is_flag=True, help="Write into a folder that is not empty; replaces same names.")
def init(folder: Path, template: str, force: bool) -> None:
    """Start a project in DIR that creates, validates, serves and passes its own test as it is."""
    written = scaffold(template, folder, force=force)
    console.note(f"{folder}: {', '.join(written.files)}\n\nnext:")
    for command in next_commands(folder, written):
        console.out(f"  {command}")


def next_commands(folder: Path, written: Scaffold) -> list[str]:
    """What to type now, in order, to get an answer from the new project."""
    enter = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    make = ["python make_checkpoint.py"] if "make_checkpoint.py" in written.files else []
    serve = ["archive create", f"archive serve {written.name}.mar"]
    return [*enter, *make, *serve, f"archive predict {written.name} --input sample.json"]
