"""What every container offers: a Source to read from, a Sink to write into. Nobody outside asks for the format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from archiver.safety import Entry, Listing


@dataclass(frozen=True, slots=True)
class Extent:
    """A member's bytes as they lie in an open file: descriptor, offset and length in bytes."""

    fd: int
    offset: int
    length: int

    def read(self, at: int, count: int) -> bytes:
        """Up to `count` bytes from `at`, fewer where the extent ends."""
        return os.pread(self.fd, max(min(count, self.length - at), 0), self.offset + at)


class Source(Protocol):
    """A container being read."""

    path: Path
    kind: str
    listing: Listing

    def open(self, entry: Entry) -> BinaryIO:
        """A member's content. Reading raises DamagedArchive where it is not as claimed."""
        ...

    def extent(self, entry: Entry) -> Extent | None:
        """Where the content lies uncompressed, or None."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """A container being written: `begin`, `write`… `end` for each member, then `publish`; `abort` at any time."""

    def begin(self, name: str, size: int) -> None: ...

    def write(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...

    def publish(self) -> None:
        """Seal the container and put it in the target's place in one step."""
        ...

    def abort(self) -> None:
        """Remove what was written; the target is as it was."""
        ...
