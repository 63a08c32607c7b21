"""Chunks of bytes: unpacked, counted and checked while they pass. Nothing here holds more than a few megabytes."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, BinaryIO

from archiver.errors import ArchiveError, DamagedArchive
from archiver.safety import Entry

STEP = 1 << 20
#: zipfile-deflate64 has no bound on what one call returns; 256 bytes unpack to 4.6 MB at most (65,538 bytes a match).
_DEFLATE64_SLICE = 256


def at_offset(fd: int, start: int, length: int) -> Iterator[bytes]:
    """`length` bytes of an open file from `start`. Ends early where the file does."""
    end = start + length
    while start < end:
        chunk = os.pread(fd, min(STEP, end - start), start)
        if not chunk:
            return
        yield chunk
        start += len(chunk)


def until_end(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file."""
    while chunk := file.read(STEP):
        yield chunk


def unpacked(chunks: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Undo a member's compression: stored, deflated or deflate64."""
    return _UNPACKERS[compression](chunks)


def checked(chunks: Iterator[bytes], entry: Entry, archive: str) -> Iterator[bytes]:
    """The same chunks; raises DamagedArchive, naming the member, where size or CRC are not as claimed."""
    crc = count = 0
    try:
        for chunk in chunks:
            count += len(chunk)
            if count > entry.size:
                break
            crc = zlib.crc32(chunk, crc)
            yield chunk
    except (zlib.error, EOFError, ValueError) as error:
        raise damaged(archive, entry.name, f"cannot be unpacked ({error})") from error
    if count != entry.size:
        raise damaged(archive, entry.name, f"has not the {entry.size} bytes that the archive says")
    if entry.crc is not None and crc != entry.crc:
        raise damaged(archive, entry.name, "fails its CRC")


def damaged(archive: str, member: str, what: str) -> DamagedArchive:
    """The error for a member that is not what the archive says. `what` ends the sentence."""
    return DamagedArchive(f"member `{member}` {what}", where=archive)


class ChunkFile(io.RawIOBase):
    """Chunks as a readable binary file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def as_file(chunks: Iterator[bytes]) -> BinaryIO:
    """Chunks as a buffered binary file, not seekable."""
    return io.BufferedReader(ChunkFile(chunks), STEP)


def _inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    for chunk in chunks:
        rest = chunk
        while True:
            data = engine.decompress(rest, STEP)
            rest = engine.unconsumed_tail
            if data:
                yield data
            if not rest and len(data) < STEP:
                break
    if not engine.eof or engine.unused_data:
        raise EOFError("the compressed data does not end where it should")


def _inflate64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    engine = _deflate64()()
    for chunk in chunks:
        for at in range(0, len(chunk), _DEFLATE64_SLICE):
            data = engine.decompress(chunk[at : at + _DEFLATE64_SLICE])
            if data:
                yield data
    if not engine.eof:
        raise EOFError("the compressed data does not end where it should")


@cache
def _deflate64() -> Callable[[], Any]:
    """The decoder of zipfile-deflate64, loaded without its package: importing that patches `zipfile` for everybody.

    With the patches in place `zipfile` writes members of method 9 that nobody can read.
    """
    package = importlib.util.find_spec("zipfile_deflate64")
    if package is None:
        raise ArchiveError("a member uses Deflate64", hint="pip install zipfile-deflate64")
    spec = importlib.machinery.PathFinder.find_spec("zipfile_deflate64.deflate64", package.submodule_search_locations)
    assert spec is not None and spec.loader is not None, "zipfile-deflate64 is installed without its decoder"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    decoder: Callable[[], Any] = module.Deflate64
    return decoder


def _stored(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return iter(chunks)


_UNPACKERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    "stored": _stored,
    "deflated": _inflate,
    "deflate64": _inflate64,
}
