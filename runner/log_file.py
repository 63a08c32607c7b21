"""A file that lines are added to, and that never grows beyond its bound."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger("archive.server")

_MOST = 100_000_000
_KEPT = 5


class LogFile:
    """`most`: bytes before the file is put away as FILE.1, of which there are `kept`: FILE.1, FILE.2, …

    What cannot be written is lost. The log says so once, and again only after it went well.
    """

    def __init__(self, path: Path, most: int = _MOST, kept: int = _KEPT) -> None:
        self._path = path
        self._most = most
        self._kept = kept
        self._fails = False

    def add(self, lines: str) -> None:
        """Add whole lines. Blocks; raises nothing for what the disk does."""
        if not lines:
            return
        data = lines.encode("utf-8", "replace")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(len(data))
            self._write(data)
            self._fails = False
        except OSError as error:
            if not self._fails:
                log.error("%s: cannot be written, its lines are lost: %s", self._path, error.strerror or error)
            self._fails = True

    def _make_room(self, coming: int) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if not size or size + coming <= self._most:
            return
        for number in range(self._kept, 0, -1):
            older = self._numbered(number)
            newer = self._numbered(number - 1) if number > 1 else self._path
            if newer.exists():
                newer.replace(older)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _write(self, data: bytes) -> None:
        """Opened each time: whoever puts the file away meanwhile finds a new one made."""
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # After a failure the last line may be half there.
            data = b"\n" + data if self._fails else data
            while data:
                data = data[os.write(handle, data) :]
        finally:
            os.close(handle)
