"""`archive diff`: what is different between two archives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from archiver.archive import Archive
from archiver.cli import console
from archiver.diff import ABSENT, SECTIONS, Change, compare


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Compare manifest, config keys, required packages and files.

    Exit code 0 when they are the same, 1 when they differ.
    """
    with Archive.open(old) as one, Archive.open(new) as other:
        changes = compare(one, other)
    if as_json:
        console.out_json([_as_json(change) for change in changes])
    else:
        for line in _lines(changes):
            console.out(line)
    sys.exit(1 if changes else 0)


def _lines(changes: list[Change]) -> list[str]:
    lines = []
    for section in SECTIONS:
        found = [change for change in changes if change.section == section]
        if found:
            lines += [console.bold(section), *(_line(change) for change in found)]
    return lines or ["no difference"]


def _line(change: Change) -> str:
    if change.old is ABSENT:
        return f"  + {change.key}: {_short(change.new)}"
    if change.new is ABSENT:
        return f"  - {change.key}: {_short(change.old)}"
    return f"  ~ {change.key}: {_short(change.old)} → {_short(change.new)}"


def _short(value: Any) -> str:
    """A digest by its first letters, anything else as it is."""
    text = str(value)
    return text[:12] if len(text) == 64 and text.isalnum() else text


def _as_json(change: Change) -> dict[str, Any]:
    sides = {"old": change.old, "new": change.new}
    present = {side: value for side, value in sides.items() if value is not ABSENT}
    return {"section": change.section, "key": change.key, **present}
