"""Folders of the cache that others may be using, with what lies beside each of them.

    <root>/<key>/       what is kept
    <root>/<key>.json   what the key stands for
    <root>/<key>.lock   held (flock) by whoever fills or uses the folder

Least recently used folders go first, never one whose lock is held. The lock goes last.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Kept(Protocol):
    """An entry of a list: `size` in bytes."""

    @property
    def path(self) -> Path: ...

    @property
    def size(self) -> int: ...


Entry = TypeVar("Entry", bound=Kept)


def folders(root: Path) -> list[Path]:
    """The folders of all keys."""
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def beside(folder: Path, suffix: str) -> Path:
    """The file of that kind."""
    return folder.with_name(f"{folder.name}{suffix}")


def fields(folder: Path) -> dict[str, Any]:
    """What the key stands for; nothing where that was never written or is damaged: the folder can go all the same."""
    try:
        told = json.loads(beside(folder, ".json").read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def size_of(folder: Path) -> int:
    """Bytes of its files, without what links lead to. Raises FileNotFoundError while it is being removed."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def last_used(folder: Path) -> float:
    """Seconds since 1970. Raises FileNotFoundError."""
    told = beside(folder, ".json")
    return (told if told.exists() else folder).stat().st_mtime


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody holds the lock, and nobody can within the block."""
    try:
        lock = os.open(beside(folder, ".lock"), os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    try:
        yield locked(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def locked(lock: int, how: int) -> bool:
    """Take the lock, shared or alone; False where it cannot be had now."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def prune(entries: Sequence[Entry], max_size: int, more: Sequence[str]) -> list[Entry]:
    """Remove the last of the entries until `max_size` bytes are left, never one in use; return them.

    `more`: suffixes of what else lies beside a folder.
    """
    kept = 0
    removed = []
    for entry in entries:
        kept += entry.size
        if kept > max_size and remove(entry.path, more):
            kept -= entry.size
            removed.append(entry)
    return removed


def remove(folder: Path, more: Sequence[str]) -> bool:
    """Delete the folder and what lies beside it; False where it is in use."""
    with unused(folder) as free:
        if free:
            clear(folder, more)
            beside(folder, ".lock").unlink(missing_ok=True)
        return free


def clear(folder: Path, more: Sequence[str]) -> None:
    """Delete the folder and what lies beside it but the lock, which the caller holds."""
    for suffix in (".json", *more):  # first: what is half deleted must not look complete
        beside(folder, suffix).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
