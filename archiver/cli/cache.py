"""`archive cache`: the archives that `serve` has unpacked, and what it has compiled for them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import click

from archiver import compiled, store
from archiver.cli import console
from archiver.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show and prune unpacked archives and compiled code; `archive cache` alone lists them.

    They lie in $TORCH_ARCHIVE_CACHE, else in ~/.cache/torch-archive.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, as_json=as_json)


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def ls(as_json: bool) -> None:
    """List unpacked archives, then compiled code, each most recently used first."""
    entries, made = store.stored(), compiled.compiled(compiled.compiled_root())
    if as_json:
        listed = {
            "entries": [_as_json(entry) for entry in entries],
            "compiled": [_made_json(entry) for entry in made],
        }
        console.out_json({"cache": str(store.cache_root()), **listed})
        return
    for entry in entries:
        console.out(f"{entry.digest[:12]}  {console.size(entry.size):>9}  {entry.model:<24} {_state(entry)}")
    for code in made:
        console.out(f"{code.key[:12]}  {console.size(code.size):>9}  {_what(code)} {_state(code)}")
    total = console.size(_total([*entries, *made]))
    console.out(f"{len(entries) + len(made)} in {store.cache_root()}, {total}")


@cache.command()
@click.option("--max-size", default="0", metavar="SIZE", help="Keep this much, e.g. 20GB; default: nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
def prune(max_size: str, as_json: bool) -> None:
    """Remove the least recently used archives, never one that is being served, and compiled code.

    Compiled code gets the room that the archives leave; none is removed while a worker fills or loads it.
    """
    limit = _bytes(max_size)
    removed = store.prune(limit)
    room = max(0, limit - sum(entry.size for entry in store.stored()))
    forgotten = compiled.prune_compiled(compiled.compiled_root(), room)
    freed = _total([*removed, *forgotten])
    if as_json:
        gone = {
            "removed": [_as_json(entry) for entry in removed],
            "compiled": [_made_json(code) for code in forgotten],
        }
        console.out_json({"freed": freed, **gone})
        return
    for entry in removed:
        console.out(f"{entry.digest[:12]}  {console.size(entry.size):>9}  {entry.model}")
    for code in forgotten:
        console.out(f"{code.key[:12]}  {console.size(code.size):>9}  {_what(code)}")
    console.out(f"{len(removed) + len(forgotten)} removed, {console.size(freed)} freed")


def _bytes(text: str) -> int:
    """A size as people write it: 500MB, 20GB, 1.5TB (powers of 1000)."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no size", hint="write it like --max-size 20GB")
    return int(float(match[1]) * _UNITS[match[2]])


def _age(seconds: float) -> str:
    return next((f"{seconds // unit:.0f} {name}" for unit, name in _AGES if seconds >= unit), "a moment")


def _state(entry: store.Stored | compiled.Compiled) -> str:
    return "in use" if entry.busy else f"used {_age(time.time() - entry.used)} ago"


def _total(entries: Sequence[store.Stored | compiled.Compiled]) -> int:
    return sum(entry.size for entry in entries)


def _what(code: compiled.Compiled) -> str:
    """What compiled code is for; its writer may have died before it said so."""
    if not code.torch:
        return f"{'compiled, unfinished':<24}"
    return f"{f'compiled, torch {code.torch} {code.device}':<24} for {code.archive[:12] or 'a folder'}"


def _made_json(code: compiled.Compiled) -> dict[str, Any]:
    return {
        "key": code.key,
        "torch": code.torch,
        "archive": code.archive,
        "device": code.device,
        "path": str(code.path),
        "size": code.size,
        "used": code.used,
        "busy": code.busy,
    }


def _as_json(entry: store.Stored) -> dict[str, Any]:
    return {
        "digest": entry.digest,
        "model": entry.model,
        "path": str(entry.path),
        "size": entry.size,
        "used": entry.used,
        "busy": entry.busy,
    }
