"""`archive schema`: the schemas that ship, for editors and other tools."""

from __future__ import annotations

import click

from archiver.cli import console
from archiver.config.schema import names, schema_path


@click.command()
@click.argument("name", type=click.Choice(names()), default="model-config")
@click.option("--path", "as_path", is_flag=True, help="Print the path of the schema's file instead.")
def schema(name: str, as_path: bool) -> None:
    """Print a JSON Schema (draft 2020-12): model-config by default.

    An editor completes and checks a YAML file offline when its first line is
    `# yaml-language-server: $schema=` with the path that --path prints.
    """
    path = schema_path(name)
    console.out(str(path) if as_path else path.read_text(encoding="utf-8").rstrip("\n"))
