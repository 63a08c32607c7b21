"""`archive cache`: the archives that `serve` has unpacked."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from archiver import store
from archiver.cli import console
from archiver.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show and prune the unpacked archives; `archive cache` alone lists them.

    They lie in $TORCH_ARCHIVE_CACHE, else in ~/.cache/torch-archive.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, as_json=as_json)


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def ls(as_json: bool) -> None:
    """List the unpacked archives, most recently used first."""
    entries = store.stored()
    if as_json:
        console.out_json({"cache": str(store.cache_root()), "entries": [_as_json(entry) for entry in entries]})
        return
    for entry in entries:
        state = "in use" if entry.busy else f"used {_age(time.time() - entry.used)} ago"
        console.out(f"{entry.digest[:12]}  {console.size(entry.size):>9}  {entry.model:<24} {state}")
    total = console.size(sum(entry.size for entry in entries))
    console.out(f"{len(entries)} in {store.cache_root()}, {total}")


@cache.command()
@click.option("--max-size", default="0", metavar="SIZE", help="Keep this much, e.g. 20GB; default: nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
def prune(max_size: str, as_json: bool) -> None:
    """Remove the least recently used archives, never one that is being served."""
    removed = store.prune(_bytes(max_size))
    freed = sum(entry.size for entry in removed)
    if as_json:
        console.out_json({"freed": freed, "removed": [_as_json(entry) for entry in removed]})
        return
    for entry in removed:
        console.out(f"{entry.digest[:12]}  {console.size(entry.size):>9}  {entry.model}")
    console.out(f"{len(removed)} removed, {console.size(freed)} freed")


def _bytes(text: str) -> int:
    """A size as people write it: 500MB, 20GB, 1.5TB (powers of 1000)."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no size", hint="write it like --max-size 20GB")
    return int(float(match[1]) * _UNITS[match[2]])


def _age(seconds: float) -> str:
    return next((f"{seconds // unit:.0f} {name}" for unit, name in _AGES if seconds >= unit), "a moment")


def _as_json(entry: store.Stored) -> dict[str, Any]:
    return {
        "digest": entry.digest,
        "model": entry.model,
        "path": str(entry.path),
        "size": entry.size,
        "used": entry.used,
        "busy": entry.busy,
    }
