"""Options that commands have in common."""

from __future__ import annotations

from pathlib import Path

import click

sent_input = click.option(
    "--input",
    "-i",
    "source",
    type=click.Path(path_type=Path),
    help="File, folder, or JSON lines (.jsonl), taken in turn. Default: the archive's samples.",
)
sent_type = click.option("--content-type", help="What the input holds; guessed from its suffix otherwise.")
