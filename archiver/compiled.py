"""What the compiler made for the archives that `serve` has run: listed, and kept within a bound.

    <cache>/compile/<key>/        one model's compiled code on one kind of machine
    <cache>/compile/<key>.json    what the key stands for, written anew at every use
    <cache>/compile/<key>.lock    held (flock) by the worker that fills or loads the folder

Workers write these (`runner/optimize/cache.py`); here only names, sizes and the plain `.json` count, so that
nothing of torch is needed. Least recently used folders go first, never one whose lock is held. Code that a
worker has loaded already stays with that worker.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def compiled(root: Path) -> list[Compiled]:
    """What is there, most recently used first."""
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return sorted(filter(None, map(_entry, folders)), key=lambda entry: entry.used, reverse=True)


def prune_compiled(root: Path, max_size: int) -> list[Compiled]:
    """Remove least recently used folders until `max_size` bytes are left, never one in use; return them."""
    kept = 0
    removed = []
    for entry in compiled(root):
        kept += entry.size
        if kept > max_size and _remove(entry.path):
            kept -= entry.size
            removed.append(entry)
    return removed


def _entry(folder: Path) -> Compiled | None:
    """What is known of a folder, or None where another process removes it meanwhile."""
    fields = _beside(folder, ".json")
    try:
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        used = (fields if fields.exists() else folder).stat().st_mtime
    except FileNotFoundError:
        return None
    told = _read(fields)
    with _unused(folder) as unused:
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


def _read(file: Path) -> dict[str, Any]:
    """The fields; none where there are none or they are damaged: the folder can go all the same."""
    try:
        told = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _first(value: Any) -> str:
    """Versions and devices are lists that start with the name."""
    return str(value[0]) if isinstance(value, list) and value else ""


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}{suffix}")


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Whether no worker holds the lock, and none can within the block."""
    try:
        lock = os.open(_beside(folder, ".lock"), os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _locked(lock)
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> bool:
    """Delete the folder and what lies beside it, the lock last; False where it is in use."""
    with _unused(folder) as unused:
        if unused:
            _beside(folder, ".seal.json").unlink(missing_ok=True)  # what is half deleted must not look complete
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)
            _beside(folder, ".json").unlink(missing_ok=True)
            _beside(folder, ".lock").unlink(missing_ok=True)
        return unused
