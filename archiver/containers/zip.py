"""Zip archives (.mar): ZipSink writes the strict profile, ZipSource reads what anybody wrote.

The profile is what lets TorchServe's streaming Java reader, a memory map and a strict checker agree: entries tile
the file from byte 0 to the directory; alignment lives in an extra field, never in a gap.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from archiver.containers import records, streams
from archiver.containers.draft import DraftFile
from archiver.containers.source import Extent
from archiver.errors import DamagedArchive
from archiver.members import LARGE
from archiver.safety import Entry, Gap, Header, Kind, Limits, Listing, refuse

_COMPRESSIONS = {0: "stored", 8: "deflated", 9: "deflate64"}
_KINDS = {0: Kind.FILE, stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}
_LOCAL_GUESS = records.LOCAL.size + 256 + records.PAGE + 32
_LONGEST_COMMENT = 0xFFFF
_DESCRIPTORS = (0, 12, 16, 20, 24)


class ZipSink:
    """Writes stored members, each as it streams by, and the zip directory at the end.

    Raises OSError where the disk refuses; the caller aborts. `zip64_from`: numbers from here on use zip64.
    """

    def __init__(self, target: Path, *, zip64_from: int = 0xFFFFFFFF) -> None:
        self._draft = DraftFile(target)
        self._file = self._draft.file
        self._zip64_from = zip64_from
        self._directory: list[bytes] = []
        self._name, self._size, self._start, self._crc = "", 0, 0, 0
        self._at = 0

    def begin(self, name: str, size: int) -> None:
        self._name, self._size, self._start, self._crc = name, size, self._at, 0
        align = records.PAGE if size >= LARGE else 1
        self._put(records.pack_local(name, size, self._start, align=align, zip64_from=self._zip64_from))

    def write(self, chunk: bytes) -> None:
        self._crc = zlib.crc32(chunk, self._crc)
        self._put(chunk)

    def end(self) -> None:
        self._file.flush()
        crc = self._crc.to_bytes(4, "little")
        os.pwrite(self._file.fileno(), crc, self._start + records.CRC_OFFSET)
        record = records.pack_central(self._name, self._size, self._crc, self._start, zip64_from=self._zip64_from)
        self._directory.append(record)

    def publish(self) -> None:
        start = self._at
        for record in self._directory:
            self._put(record)
        count = len(self._directory)
        self._put(records.pack_end(count, self._at - start, start, zip64_from=self._zip64_from))
        self._draft.publish()

    def abort(self) -> None:
        self._draft.abort()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)


class ZipSource:
    """Reads a zip through one file descriptor, so that a renamed or replaced file cannot mix in.

    Raises DamagedArchive for what is no zip or cut off, RefusedArchive for what breaks a rule.
    """

    kind = "zip"

    def __init__(self, path: Path, file: BinaryIO, limits: Limits, window: Extent | None = None) -> None:
        """`window`: where the zip lies in the file, when it is not all of it."""
        self.path = path
        self._file = file
        self._fd = file.fileno()
        self._base = window.offset if window else 0
        self._length = window.length if window else os.fstat(self._fd).st_size
        with self._damage("its zip directory"):
            end, start, comment = self._find_directory()
            if end.count > limits.entries:
                message = f"it has {end.count} members, the limit is {limits.entries}"
                raise refuse(str(path), "archive/too-many-entries", message)
            found = self._read_directory(end, start)
        shift = start - end.offset
        entries = tuple(self._entry(central, central.offset + shift) for central in found)
        self.listing = Listing(
            archive=str(path),
            file_size=self._length,
            entries=entries,
            gaps=tuple(self._gaps(entries, start)),
            prefix=min((entry.start for entry in entries), default=0),
            comment=comment,
            directory_start=start,
        )

    def open(self, entry: Entry) -> BinaryIO:
        """A member's content, checked against its size and CRC as it is read."""
        packed = streams.at_offset(self._fd, self._base + entry.data, entry.packed or 0)
        chunks = streams.unpacked(packed, entry.compression)
        return streams.as_file(streams.checked(chunks, entry, str(self.path)))

    def extent(self, entry: Entry) -> Extent | None:
        """Where a stored member's bytes lie in the file."""
        if entry.compression != "stored" or entry.packed != entry.size:
            return None
        return Extent(self._fd, self._base + entry.data, entry.size)

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _damage(self, what: str) -> Iterator[None]:
        try:
            yield
        except records.Malformed as error:
            raise DamagedArchive(f"{what}: {error}", where=str(self.path)) from error

    def _find_directory(self) -> tuple[records.End, int, int]:
        """The end record, where the directory really starts, and the bytes of comment behind the end record."""
        at = self._end_offset()
        end, comment = records.parse_end(self._bytes(records.END.size, at))
        stop = at - records.LOCATOR.size - records.END64.size
        if stop >= 0 and self._bytes(4, at - records.LOCATOR.size) == records.LOCATOR_SIGNATURE:
            end = records.settled(end, records.parse_end64(self._bytes(records.END64.size, stop)))
        else:
            stop = at
        start = stop - end.size
        if start < end.offset:
            raise records.Malformed("it is cut off, or bytes are missing inside")
        return end, start, max(comment, self._length - at - records.END.size)

    def _bytes(self, count: int, at: int) -> bytes:
        """Up to `count` bytes of the zip from `at`."""
        return os.pread(self._fd, max(min(count, self._length - at), 0), self._base + at)

    def _end_offset(self) -> int:
        """Where the end record is: the last bytes of the file, or before a comment."""
        tail_start = max(0, self._length - records.END.size - _LONGEST_COMMENT)
        tail = self._bytes(self._length - tail_start, tail_start)
        last = len(tail) - records.END.size
        if last >= 0 and tail[last : last + 4] == records.END_SIGNATURE and tail.endswith(b"\0\0"):
            return tail_start + last
        found = tail.rfind(records.END_SIGNATURE, 0, max(last, 0) + 4)
        if found < 0:
            raise records.Malformed("the end is missing; the file is cut off or no zip")
        return tail_start + found

    def _read_directory(self, end: records.End, start: int) -> list[records.Central]:
        data = memoryview(self._bytes(end.size, start))
        found = []
        for _ in range(end.count):
            central = records.parse_central(data)
            data = data[central.length :]
            found.append(central)
        if data:
            raise records.Malformed(f"{len(data)} bytes more than its {end.count} records")
        return found

    def _entry(self, central: records.Central, start: int) -> Entry:
        header = central.header
        name = _name(header)
        with self._damage(f"member `{name}`"):
            local = records.parse_local(self._local_bytes(start))
        data = start + local.length
        if data + header.packed > self._length:
            raise DamagedArchive(f"member `{name}` is cut off", where=str(self.path))
        return Entry(
            name=name,
            size=header.size,
            packed=header.packed,
            kind=_kind(central, name),
            compression=_COMPRESSIONS.get(header.method, f"method {header.method}"),
            crc=header.crc,
            encrypted=bool(header.flags & (records.ENCRYPTED | records.STRONG_ENCRYPTION)),
            start=start,
            data=data,
            end=data + header.packed,
            central=header,
            local=local.header,
            descriptor=bool(header.flags & records.DESCRIPTOR),
        )

    def _local_bytes(self, start: int) -> bytes:
        data = self._bytes(_LOCAL_GUESS, start)
        if len(data) < records.LOCAL.size:
            return data
        *_, names, extras = records.LOCAL.unpack_from(data)
        length = records.LOCAL.size + names + extras
        return data if len(data) >= length else self._bytes(length, start)

    def _gaps(self, entries: tuple[Entry, ...], directory: int) -> Iterator[Gap]:
        """What lies between entries. A data descriptor, where one is announced, is no gap of its own."""
        placed = sorted(entries, key=lambda entry: entry.start)
        starts = [entry.start for entry in placed[1:]] + [directory]
        for entry, following in zip(placed, starts, strict=False):
            size = following - entry.end
            if size > 0:
                yield Gap(entry.name, size, self._looks_like_entry(entry, size))

    def _looks_like_entry(self, entry: Entry, size: int) -> bool:
        skips = _DESCRIPTORS if entry.descriptor else (0,)
        head = self._bytes(min(size, 28), entry.end)
        return any(head[skip : skip + 4] == records.LOCAL_SIGNATURE for skip in skips)


def _name(header: Header) -> str:
    """As zip says: UTF-8 where the flag says so, else code page 437. Bytes that are no UTF-8 become surrogates."""
    if header.flags & records.UTF8:
        return header.name.decode("utf-8", "surrogateescape")
    return header.name.decode("cp437")


def _kind(central: records.Central, name: str) -> Kind:
    if central.system in (records.UNIX, records.MACOS):
        kind = _KINDS.get(stat.S_IFMT(central.attributes >> 16), Kind.SPECIAL)
        if kind is not Kind.FILE:
            return kind
    return Kind.DIRECTORY if name.endswith("/") else Kind.FILE
