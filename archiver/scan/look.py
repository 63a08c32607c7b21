"""Looks into one file, and into whatever lies in it: archives, compressed files, pickles by any name."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from archiver import checkpoint, safety
from archiver.containers import tar
from archiver.containers.source import Extent
from archiver.containers.streams import STEP, until_end
from archiver.containers.zip import ZipSource
from archiver.errors import ArchiveError, DamagedArchive, RefusedArchive
from archiver.scan import code
from archiver.scan.allowed import is_allowed, is_torchscript
from archiver.scan.extents import bytes_of_text, compression, file_of, sealed, spooled, unpacked
from archiver.scan.found import DAMAGED, INSIDE, Found, unjudged, worst
from archiver.scan.machine import Gate, Held, Pickle, Refusal, TooLong
from archiver.scan.pickles import pickles

_HEAD = 1024
_DEEPEST = 8
_ZIP = b"PK\x03\x04"
_ZIP_RECORD, _ZIP_END = b"PK\x01\x02", b"PK\x05\x06"
#: A zip's end record may stand before a comment of this length, and before it stand the directory's.
_TAIL = (1 << 16) + 22
#: What a compressed file may unpack to: so many times its size, or this many bytes.
_RATIO, _FLOOR = 100, 256 << 20
_TOO_MUCH = "is more than a scan reads"
_NUMPY = b"\x93NUMPY"


@dataclass(slots=True)
class Budget:
    """What one scan may spend: entries, bytes written to temporary files, instructions of pickles."""

    entries: int = 200_000
    unpacked: int = 64 << 30
    instructions: int = 8_000_000

    def pay_entry(self) -> None:
        """Raises Spent."""
        self.entries -= 1
        if self.entries < 0:
            raise Spent

    def pay_unpacked(self, count: int) -> None:
        """Bytes. Raises Spent."""
        self.unpacked -= count
        if self.unpacked < 0:
            raise Spent


class Spent(Exception):
    """The budget is: the entry that was named is not looked at any further."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry is. `name`: its own, with its folders; `allows`: what its pickles may call."""

    entry: str
    name: str
    depth: int = 0
    allows: Gate = is_allowed

    def inside(self, name: str, allows: Gate) -> Place:
        """Of an entry of this one."""
        return Place(f"{self.entry}{INSIDE}{name}", name, self.depth + 1, allows)


def look(place: Place, extent: Extent, budget: Budget) -> list[Found]:
    """The entry first, then what lies in it and is more than data."""
    try:
        budget.pay_entry()
        return _Look(place, extent, budget).found()
    except TooLong:
        return [unjudged(place.entry, "data", _TOO_MUCH)]
    except Spent:
        if place.depth:
            raise
        return [unjudged(place.entry, "data", _TOO_MUCH)]


class _Look:
    """One entry being looked at."""

    def __init__(self, place: Place, extent: Extent, budget: Budget) -> None:
        self.place, self.extent, self.budget = place, extent, budget
        self.head = extent.read(0, _HEAD)

    def found(self) -> list[Found]:
        if self.place.depth == 0 and code.is_compiled(self.place.name):
            return [Found(self.place.entry, "code", "runs", code.COMPILED)]
        own, held = self._pickle()
        inner = [*self._tar(), *self._zip(), *self._packed(), *held]
        what = code.about(self.place.name, self.head)
        if what is not None:
            own = replace(own, kind="code", verdict=worst([own.verdict, "runs"]), about=what)
        return self._joined(own, inner)

    def _joined(self, own: Found, inner: list[Found]) -> list[Found]:
        """The entry with the worst verdict of what it holds; entries of its own name are about itself."""
        about = [each for each in inner if each.entry == self.place.entry]
        parts = [each for each in inner if each.entry != self.place.entry and each.verdict != "data"]
        for each in about:
            own = _merged(own, each)
        return [replace(own, verdict=worst([own.verdict, *(each.verdict for each in parts)])), *parts]

    def _pickle(self) -> tuple[Found, list[Found]]:
        """What the entry is as a pickle, safetensors or plain data, and what it holds as values."""
        # As a pickle, a zip would begin by asking its loader for an object, which plain unpicklers refuse.
        if self.head.startswith(_ZIP):
            return Found(self.place.entry, "data", "data"), []
        entry, suffix = self.place.entry, PurePosixPath(self.place.name).suffix.lower()
        found = [
            one for at in self._starts() for one in pickles(self.extent, at, suffix, self.budget, self.place.allows)
        ]
        kind = checkpoint.kind_of_head(self.head, suffix)
        if not found and kind == "safetensors":
            return Found(entry, "weights", "safe", checkpoint.KINDS[kind]), []
        if not found:
            return Found(entry, "data", "data", checkpoint.KINDS[kind] if kind == "onnx" else ""), []
        held = [each for one in found for value in one.held for each in self._held(value)]
        return _as_pickle(entry, kind, found), held

    def _held(self, value: Held) -> list[Found]:
        """What a value of a pickle is, should somebody unpickle that, too."""
        if (deep := self._too_deep()) is not None:
            return [deep]
        place = self.place.inside(f"bytes at {value.start}", is_allowed)
        extent = Extent(self.extent.fd, self.extent.offset + value.start, value.length)
        if value.encoding == "latin-1":
            return look(place, extent, self.budget)
        self.budget.pay_unpacked(value.length)
        with spooled(bytes_of_text(extent, value.encoding)) as copy:
            return look(place, copy, self.budget)

    def _starts(self) -> Iterator[int]:
        """Where a pickle may begin: a file of numpy's arrays has one for each that is of objects."""
        if not self.head.startswith(_NUMPY):
            yield 0
            return
        for at in _places(self.extent, _NUMPY):
            self.budget.pay_entry()
            yield _numpy_start(self.extent, at)

    def _zip(self) -> list[Found]:
        if not self.head.startswith(_ZIP) and not self._ends_as_zip():
            return []
        with os.fdopen(os.dup(self.extent.fd), "rb") as file:
            try:
                source = ZipSource(Path(self.place.entry), file, safety.Limits(), self.extent)
                safety.check(source.listing, safety.Limits())
            except ArchiveError as error:
                return [unjudged(self.place.entry, "archive", f"cannot be looked into: {error.message}")]
            if source.listing.prefix and self.head.startswith(_ZIP):
                return [unjudged(self.place.entry, "archive", "holds entries that its directory does not name")]
            return self._members(source)

    def _ends_as_zip(self) -> bool:
        """Whether there is the end of a zip directory: readers of zips begin there, whatever the file begins with."""
        end = self.extent.read(max(self.extent.length - _TAIL, 0), _TAIL)
        return _ZIP_END in end and _ZIP_RECORD in self.extent.read(max(self.extent.length - 2 * _TAIL, 0), 2 * _TAIL)

    def _members(self, source: ZipSource) -> list[Found]:
        entries = [entry for entry in source.listing.entries if entry.is_file]
        names = [entry.name for entry in entries]
        kind = checkpoint.kind_of_members(names)
        if self.place.name.endswith(".pt2"):
            kind = "pt2"
        allows: Gate = is_allowed if kind != "torchscript" else _allows_in_torchscript
        if (deep := self._too_deep()) is not None:
            return [deep]
        inner = (each for entry in entries for each in self._member(source, entry, allows))
        # A TorchScript program is told as a whole.
        parts = [each for each in inner if kind != "torchscript" or each.verdict == "refused"]
        return [self._program(kind, names, source), *parts]

    def _member(self, source: ZipSource, entry: safety.Entry, allows: Gate) -> list[Found]:
        place = self.place.inside(entry.name, allows)
        extent = source.extent(entry)
        return self._spooled(place, source, entry) if extent is None else look(place, extent, self.budget)

    def _spooled(self, place: Place, source: ZipSource, entry: safety.Entry) -> list[Found]:
        """A member that is compressed; what cannot be unpacked whole is refused, and its beginning looked at."""
        self.budget.pay_unpacked(entry.size)
        with source.open(entry) as file, spooled(until_end(file)) as extent:
            found = look(place, extent, self.budget)
            if extent.length != entry.size:
                found.append(unjudged(place.entry, "data", DAMAGED))
            return found

    def _program(self, kind: str, names: list[str], source: ZipSource) -> Found:
        """What the zip itself is."""
        entry = self.place.entry
        if kind not in code.PROGRAMS:
            known = kind != "unknown"
            return Found(entry, "weights" if known else "archive", "data", checkpoint.KINDS[kind] if known else "zip")
        refused = tuple(self._exported(names, source)) if kind == "pt2" else ()
        return Found(entry, "code", "refused" if refused else "runs", code.PROGRAMS[kind], (), refused)

    def _exported(self, names: list[str], source: ZipSource) -> Iterator[Refusal]:
        yield from code.refused_objects(names)
        for entry in source.listing.entries:
            if not code.is_config(entry.name):
                continue
            try:
                with source.open(entry) as file:
                    data = file.read(code.LONGEST_CONFIG)
            except DamagedArchive:
                data = b""
            yield from code.refused_config(entry.name, data)

    def _tar(self) -> list[Found]:
        if not _is_tar(self.head):
            return []
        if (deep := self._too_deep()) is not None:
            return [deep]
        found = [Found(self.place.entry, "archive", "data", "tar")]
        try:
            with tarfile.open(fileobj=file_of(self.extent), mode="r:") as archive:
                for info in archive:
                    found += self._tar_member(info)
        except (tarfile.TarError, ArchiveError, EOFError, ValueError, OverflowError) as error:
            found.append(unjudged(self.place.entry, "archive", f"is a damaged tar: {error}"))
        return found

    def _tar_member(self, info: tarfile.TarInfo) -> list[Found]:
        entry = tar.as_entry(info)
        try:
            safety.check(safety.Listing(self.place.entry, self.extent.length, (entry,)), safety.Limits())
        except RefusedArchive as error:
            return [unjudged(self.place.entry, "archive", f"cannot be looked into: {error.message}")]
        if not entry.is_file:
            self.budget.pay_entry()
            return []
        extent = Extent(self.extent.fd, self.extent.offset + info.offset_data, info.size)
        return look(self.place.inside(entry.name, is_allowed), extent, self.budget)

    def _packed(self) -> list[Found]:
        """A file that is compressed as a whole: what comes out is the same entry."""
        if (how := sealed(self.head)) is not None:
            return [unjudged(self.place.entry, "archive", f"is compressed by {how}, which is not unpacked here")]
        name = compression(self.head)
        if name is None:
            return []
        if (deep := self._too_deep()) is not None:
            return [deep]
        with spooled(self._bounded(unpacked(self.extent, name))) as extent:
            if not extent.length:
                return []
            inside = replace(self.place, depth=self.place.depth + 1, name=str(PurePosixPath(self.place.name).stem))
            first, *rest = look(inside, extent, self.budget)
            return [replace(first, about=first.about or name), *rest]

    def _bounded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        left = max(_FLOOR, self.extent.length * _RATIO)
        for chunk in chunks:
            self.budget.pay_unpacked(len(chunk))
            left -= len(chunk)
            if left < 0:
                raise Spent
            yield chunk

    def _too_deep(self) -> Found | None:
        deep = self.place.depth >= _DEEPEST
        return unjudged(self.place.entry, "archive", "lies too deep, in archives in archives") if deep else None


def _merged(own: Found, other: Found) -> Found:
    """Two looks at one entry: what is known of it counts, and the worst."""
    kind, about = (own.kind, own.about) if own.kind != "data" else (other.kind, other.about)
    return Found(
        own.entry,
        kind,
        worst([own.verdict, other.verdict]),
        about,
        tuple(dict.fromkeys(own.globals + other.globals)),
        tuple(dict.fromkeys(own.refused + other.refused)),
    )


def _as_pickle(entry: str, kind: str, found: list[Pickle]) -> Found:
    refused = tuple(dict.fromkeys(each for one in found for each in one.refused))
    unread = next((one.unread for one in found if one.unread), None)
    verdict = "refused" if refused else "safe" if unread is None else "plain"
    legacy = kind == "torch-legacy"
    about = checkpoint.KINDS[kind] if legacy else f"torch.load does not read {unread}" if verdict == "plain" else ""
    names = tuple(dict.fromkeys(name for one in found for name in one.globals))
    return Found(entry, "weights" if legacy else "pickle", verdict, about, names, refused)


def _allows_in_torchscript(name: str) -> bool:
    return is_allowed(name) or is_torchscript(name)


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _places(extent: Extent, mark: bytes) -> Iterator[int]:
    """Offsets of every occurrence."""
    for base in range(0, extent.length, STEP):
        chunk = extent.read(base, STEP + len(mark) - 1)
        at = chunk.find(mark)
        while at >= 0:
            yield base + at
            at = chunk.find(mark, at + 1)


def _numpy_start(extent: Extent, at: int) -> int:
    """Where the data of an array begins that numpy.save has written there: a pickle where its type is `object`."""
    width = 2 if extent.read(at + 6, 1) == b"\1" else 4
    return at + 8 + width + int.from_bytes(extent.read(at + 8, width), "little")
