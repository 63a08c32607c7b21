"""The environments that `serve` has made of archives' requirements: listed, leased, and kept within a bound.

    <cache>/environments/<key>/       a virtual environment over the server's own packages
    <cache>/environments/<key>.json   what was installed; written last, so without it there is no environment
    <cache>/environments/<key>.log    what the installer said
    <cache>/environments/<key>.lock   held alone while it is made, shared while a model runs in it

The server makes them (`runner/pool/environments.py`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver import shelf
from archiver.store import Lease, cache_root

#: Bytes of environments that are kept when another one is made.
MAX_ENVIRONMENTS = 20_000_000_000
LOG = ".log"


@dataclass(frozen=True, slots=True)
class Made:
    """One environment. `installed`: name==version of each of its own packages, empty for what was never finished;
    `size` in bytes, `used` in seconds since 1970, `busy` while it is made or a model runs in it."""

    key: str
    installed: tuple[str, ...]
    path: Path
    size: int
    used: float
    busy: bool


def environments_root(cache: Path | None = None) -> Path:
    """The folder of all of them."""
    return (cache or cache_root()) / "environments"


def environments(root: Path) -> list[Made]:
    """What is there, most recently used first."""
    return sorted(filter(None, map(_entry, shelf.folders(root))), key=lambda entry: entry.used, reverse=True)


def prune_environments(root: Path, max_size: int) -> list[Made]:
    """Remove least recently used ones until `max_size` bytes are left, never one in use; return them.

    What failed installations left beside goes, too.
    """
    for lock in root.glob("*.lock"):
        if not (root / lock.stem).exists():
            shelf.remove(root / lock.stem, (LOG,))
    return shelf.prune(environments(root), max_size, (LOG,))


def lease(folder: Path, *, alone: bool) -> Lease | None:
    """The environment's lock, also before there is one; None while others hold it. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = shelf.beside(folder, ".lock")
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    # Where it has been pruned meanwhile, the file in that place is another one, or none.
    if shelf.locked(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH) and _is(file, fd):
        return Lease(fd)
    os.close(fd)
    return None


def _is(file: Path, fd: int) -> bool:
    try:
        return file.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def installed(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The packages that the fields of an environment name."""
    packages = told.get("installed")
    return tuple(map(str, packages)) if isinstance(packages, list) else ()


def _entry(folder: Path) -> Made | None:
    """What is known of an environment, or None where another process removes it meanwhile."""
    try:
        size, used = shelf.size_of(folder), shelf.last_used(folder)
    except FileNotFoundError:
        return None
    with shelf.unused(folder) as unused:
        return Made(folder.name, installed(shelf.fields(folder)), folder, size, used, not unused)
