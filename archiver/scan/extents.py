"""Bytes that lie in an open file, whatever they come from: as a file to seek in, unpacked, or copied out.

One form for all that is scanned: a file, a member of a zip where it lies, a member that had to be unpacked.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

from archiver.containers.source import Extent
from archiver.containers.streams import STEP, at_offset
from archiver.errors import ArchiveError, DamagedArchive

#: tarfile reads an extended header whole; a real one is far smaller.
_LONGEST_READ = 4 << 20
#: lzma's dictionary can be made to need gigabytes.
_LZMA_MEMORY = 256 << 20
_ANY_ZLIB = 32 + zlib.MAX_WBITS
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


class ExtentFile(io.RawIOBase):
    """An extent as a file to read and to seek in. Raises DamagedArchive for a read that must be an attack."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._extent.length}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _LONGEST_READ:
            raise DamagedArchive(f"one of its headers claims {count} bytes")
        data = self._extent.read(self._at, count)
        self._at += len(data)
        return data


@contextmanager
def spooled(chunks: Iterable[bytes]) -> Iterator[Extent]:
    """The chunks as an extent of a nameless temporary file. Ends early, without a word, where damaged data does:
    who unpickles a stream has then run what came before. Raises ArchiveError where there is no room for it.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        length = sum(_written(file, chunk) for chunk in _until_damage(chunks))
        yield Extent(file.fileno(), 0, length)


def _written(file: IO[bytes], chunk: bytes) -> int:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise ArchiveError(f"cannot unpack to {tempfile.gettempdir()}: {error.strerror}") from error
    return len(chunk)


def _until_damage(chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, DamagedArchive):
        return


def compression(head: bytes) -> str | None:
    """How a file is compressed as a whole, or None."""
    return next((name for name, (heads, _) in _PACKED.items() if head.startswith(heads)), None)


def unpacked(extent: Extent, name: str) -> Iterator[bytes]:
    """The content of a file that is compressed as a whole."""
    return _PACKED[name][1](at_offset(extent.fd, extent.offset, extent.length))


def file_of(extent: Extent) -> BinaryIO:
    """For tarfile, which asks for no more than ExtentFile has."""
    return ExtentFile(extent)  # type: ignore[return-value]  # a raw file is all that it reads from


def _zlib(chunks: Iterator[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(_ANY_ZLIB)
    for rest in chunks:
        while rest:
            yield engine.decompress(rest, STEP)
            rest = engine.unconsumed_tail
            if engine.eof:
                rest, engine = engine.unused_data, zlib.decompressobj(_ANY_ZLIB)
    yield engine.flush(STEP)


def _streams(fresh: Callable[[], Any]) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """bz2 and xz have one interface, and files of several streams one after the other."""

    def chunks_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
        engine = fresh()
        for rest in chunks:
            while rest or not engine.needs_input:
                yield engine.decompress(rest, STEP)
                rest = b""
                if engine.eof:
                    rest, engine = engine.unused_data, fresh()

    return chunks_of


_PACKED: dict[str, tuple[tuple[bytes, ...], Callable[[Iterator[bytes]], Iterator[bytes]]]] = {
    "gzip": ((b"\x1f\x8b",), _zlib),
    "zlib": (_ZLIB_HEADS, _zlib),
    "bzip2": ((b"BZh",), _streams(bz2.BZ2Decompressor)),
    "xz": ((b"\xfd7zXZ\0",), _streams(lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY))),
    "lzma": ((b"\x5d\0\0",), _streams(lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY))),
}
