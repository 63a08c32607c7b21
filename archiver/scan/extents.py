"""Bytes that lie in an open file, whatever they come from: as a file to seek in, unpacked, or copied out.

One form for all that is scanned: a file, a member of a zip where it lies, a member that had to be unpacked.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
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
#: What joblib wrote before 0.10: its mark, a length in 19 characters, perhaps a space, and zlib's stream.
_JOBLIB, _JOBLIB_HEAD = b"ZF0x", 21
#: Compressed in ways that Python 3.10 cannot unpack: how → first bytes.
_SEALED = {
    "zstd": b"\x28\xb5\x2f\xfd",
    "lz4": b"\x04\x22\x4d\x18",
    "snappy": b"\xff\x06\0\0sNaPpY",
    "7-Zip": b"7z\xbc\xaf\x27\x1c",
    "RAR": b"Rar!\x1a\x07",
    "lzip": b"LZIP\x01",
}
#: A frame that zstd and lz4 pass over; its first byte is 0x50 to 0x5f.
_SKIPPED = b"\x2a\x4d\x18"
#: An .lzma file says its properties, the dictionary's size and the content's: as liblzma tells them from other files.
_LZMA_PROPERTIES, _LZMA_LARGEST, _LZMA_UNKNOWN = 225, 1 << 38, (1 << 64) - 1


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
    known = next((name for name, (heads, _) in _PACKED.items() if head.startswith(heads)), None)
    return known or ("lzma" if _is_lzma(head) else None)


def sealed(head: bytes) -> str | None:
    """How a file is compressed that cannot be unpacked here, or None."""
    if head[1:4] == _SKIPPED and 0x50 <= head[0] <= 0x5F:
        return "zstd or lz4"
    return next((name for name, start in _SEALED.items() if head.startswith(start)), None)


def unpacked(extent: Extent, name: str) -> Iterator[bytes]:
    """The content of a file that is compressed as a whole."""
    return _PACKED[name][1](at_offset(extent.fd, extent.offset, extent.length))


def bytes_of_text(extent: Extent, encoding: str) -> Iterator[bytes]:
    """The bytes that a pickle has written as text, a letter for each."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in at_offset(extent.fd, extent.offset, extent.length):
        yield decoder.decode(chunk).encode("latin-1")


def file_of(extent: Extent) -> BinaryIO:
    """For tarfile, which asks for no more than ExtentFile has."""
    return ExtentFile(extent)  # type: ignore[return-value]  # a raw file is all that it reads from


def _is_lzma(head: bytes) -> bool:
    """Whether it begins as .lzma, which has no mark. Liblzma takes dictionaries of 2^n and 2^n + 2^(n-1) bytes."""
    dictionary, length = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    plain = dictionary & (dictionary - 1) == 0 or bin(dictionary).count("1") == 2 and "11" in bin(dictionary)
    # Whoever says that it holds nothing is a file of zeros.
    long = length == _LZMA_UNKNOWN or 0 < length < _LZMA_LARGEST
    return len(head) > 13 and head[0] < _LZMA_PROPERTIES and plain and long


def _joblib(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks)[_JOBLIB_HEAD:].removeprefix(b" ")
    return _zlib(chain([first], chunks))


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
    "joblib": ((_JOBLIB,), _joblib),
    "lzma": ((b"\x5d\0",), _streams(lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY))),
}
