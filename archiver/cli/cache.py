"""`archive cache`: the archives that `serve` has unpacked, what it has compiled for them, and their environments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import click

from archiver import compiled, environments, store
from archiver.cli import console
from archiver.cli.sizes import bytes_of

#: What the cache holds, each kind with a size, a time and a state.
_Entry: TypeAlias = "store.Stored | compiled.Compiled | environments.Made"
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show and prune unpacked archives, compiled code and environments; `archive cache` alone lists them.

    They lie in $TORCH_ARCHIVE_CACHE, else in ~/.cache/torch-archive.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, as_json=as_json)


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def ls(as_json: bool) -> None:
    """List unpacked archives, then compiled code, then environments, each most recently used first."""
    unpacked = store.stored()
    made = compiled.compiled(*compiled.compiled_roots())
    homes = environments.environments(environments.environments_root())
    everything: list[_Entry] = [*unpacked, *made, *homes]
    if as_json:
        listed = {"entries": _as_json(unpacked), "compiled": _as_json(made), "environments": _as_json(homes)}
        console.out_json({"cache": str(store.cache_root()), **listed})
        return
    for entry in everything:
        console.out(f"{_line(entry)} {_state(entry)}")
    console.out(f"{len(everything)} in {store.cache_root()}, {console.size(_total(everything))}")


@cache.command()
@click.option("--max-size", default="0", metavar="SIZE", help="Keep this much, e.g. 20GB; default: nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
def prune(max_size: str, as_json: bool) -> None:
    """Remove the least recently used archives, compiled code and environments, never one in use.

    Compiled code gets the room that the archives leave, environments what both leave.
    """
    room = bytes_of(max_size, "--max-size 20GB")
    unpacked = store.prune(room)
    room = max(0, room - _total(store.stored()))
    root, *others = compiled.compiled_roots()
    made = compiled.prune_compiled(root, room, *others)
    room = max(0, room - _total(compiled.compiled(root, *others)))
    homes = environments.prune_environments(environments.environments_root(), room)
    everything: list[_Entry] = [*unpacked, *made, *homes]
    freed = _total(everything)
    if as_json:
        gone = {"removed": _as_json(unpacked), "compiled": _as_json(made), "environments": _as_json(homes)}
        console.out_json({"freed": freed, **gone})
        return
    for entry in everything:
        console.out(_line(entry).rstrip())
    console.out(f"{len(everything)} removed, {console.size(freed)} freed")


def _age(seconds: float) -> str:
    return next((f"{seconds // unit:.0f} {name}" for unit, name in _AGES if seconds >= unit), "a moment")


def _state(entry: _Entry) -> str:
    return "in use" if entry.busy else f"used {_age(time.time() - entry.used)} ago"


def _total(entries: Sequence[_Entry]) -> int:
    return sum(entry.size for entry in entries)


def _line(entry: _Entry) -> str:
    name = entry.digest if isinstance(entry, store.Stored) else entry.key
    return f"{name[:12]}  {console.size(entry.size):>9}  {_what(entry)}"


def _what(entry: _Entry) -> str:
    """What it is for; its writer may have died before it said so."""
    if isinstance(entry, store.Stored):
        return f"{entry.model:<24}"
    if isinstance(entry, environments.Made):
        return f"{'environment':<24} of {', '.join(entry.installed) or 'the server alone'}"
    if not entry.torch:
        return f"{'compiled, unfinished':<24}"
    return f"{f'compiled, torch {entry.torch} {entry.device}':<24} for {entry.archive[:12] or 'a folder'}"


def _as_json(entries: Sequence[_Entry]) -> list[dict[str, Any]]:
    return [{**asdict(entry), "path": str(entry.path)} for entry in entries]
