"""What the compiler made for the archives that `serve` has run: listed, and kept within a bound.

    <cache>/compile/<key>/            one model's compiled code on one kind of machine
    <cache>/compile/<key>.json        what the key stands for, written anew at every use
    <cache>/compile/<key>.seal.json   what is in the folder
    <cache>/compile/<key>.lock        held by the worker that fills or loads the folder
    <cache>/compile-apart/<digest>/   the same for one archive whose workers are sandboxed

Workers write these (`runner/optimize/cache.py`); here only names, sizes and the plain `.json` count, so that
nothing of torch is needed. Code that a worker has loaded already stays with that worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver import shelf
from archiver.store import cache_root

#: Bytes of compiled code that are kept when a worker adds some.
MAX_COMPILED = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Compiled:
    """One folder. `torch`, `archive` (digest) and `device` are "" where its writer died before it said so;
    `size` in bytes, `used` in seconds since 1970, `busy` while a worker fills or loads it."""

    key: str
    torch: str
    archive: str
    device: str
    path: Path
    size: int
    used: float
    busy: bool


def compiled_root(cache: Path | None = None) -> Path:
    """The folder of all of them."""
    return (cache or cache_root()) / "compile"


def compiled_apart(digest: str, cache: Path | None = None) -> Path:
    """The folder of one archive whose workers are sandboxed: what they compile, no other archive loads."""
    return (cache or cache_root()) / "compile-apart" / digest


def compiled_roots(cache: Path | None = None) -> list[Path]:
    """That of all, and those of sandboxed archives."""
    return [compiled_root(cache), *shelf.folders((cache or cache_root()) / "compile-apart")]


def compiled(*roots: Path) -> list[Compiled]:
    """What is there, most recently used first."""
    found = (_entry(folder) for root in roots for folder in shelf.folders(root))
    return sorted(filter(None, found), key=lambda entry: entry.used, reverse=True)


def prune_compiled(root: Path, max_size: int, *others: Path) -> list[Compiled]:
    """Remove least recently used folders until `max_size` bytes are left, never one in use; return them."""
    return shelf.prune(compiled(root, *others), max_size, (".seal.json",))


def _entry(folder: Path) -> Compiled | None:
    """What is known of a folder, or None where another process removes it meanwhile."""
    try:
        size, used = shelf.size_of(folder), shelf.last_used(folder)
    except FileNotFoundError:
        return None
    told = shelf.fields(folder)
    with shelf.unused(folder) as unused:
        return Compiled(
            folder.name,
            _first(told.get("torch")),
            str(told.get("archive", "")),
            _first(told.get("device")),
            folder,
            size,
            used,
            not unused,
        )


def _first(value: Any) -> str:
    """Versions and devices are lists that start with the name."""
    return str(value[0]) if isinstance(value, list) and value else ""
