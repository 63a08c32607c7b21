"""`archive extract`: unpack an archive safely."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.archive import Archive
from archiver.cli import console
from archiver.unpack import extract as unpack


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Put the files among those of a folder that is not empty.")
def extract(file: Path, folder: Path, force: bool) -> None:
    """Unpack FILE to FOLDER, which is written whole or not at all. Hashes are checked on the way."""
    with Archive.open(file) as archive:
        count = unpack(archive, folder, force=force, progress=console.progress)
    console.out(f"{folder}: {count} files of {file}")
