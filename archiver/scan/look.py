"""Looks into one file, and into whatever lies in it: archives, compressed files, pickles by any name."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from archiver import checkpoint, safety
from archiver.containers import tar
from archiver.containers.source import Extent
from archiver.containers.streams import until_end
from archiver.containers.zip import ZipSource
from archiver.errors import ArchiveError, DamagedArchive, RefusedArchive
from archiver.scan import code
from archiver.scan.allowed import is_allowed, is_torchscript
from archiver.scan.extents import compression, file_of, spooled, unpacked
from archiver.scan.found import INSIDE, Found, unjudged, worst
from archiver.scan.machine import Gate, Pickle, Refusal, TooLong
from archiver.scan.pickles import pickles

_HEAD = 1024
_DEEPEST = 8
_ZIP = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
#: A zip's end record may stand before a comment of this length.
_TAIL = (1 << 16) + 22
_NUMPY = b"\x93NUMPY"


@dataclass(slots=True)
class Budget:
    """What one scan may spend: entries, bytes written to temporary files, instructions of pickles."""

    entries: int = 200_000
    unpacked: int = 64 << 30
    instructions: int = 8_000_000


class Spent(Exception):
    """The budget is."""


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
        budget.entries -= 1
        if budget.entries < 0:
            raise Spent
        return _Look(place, extent, budget).found()
    except (Spent, TooLong):
        return [unjudged(place.entry, "data", "is more than a scan reads")]


class _Look:
    """One entry being looked at."""

    def __init__(self, place: Place, extent: Extent, budget: Budget) -> None:
        self.place, self.extent, self.budget = place, extent, budget
        self.head = extent.read(0, _HEAD)

    def found(self) -> list[Found]:
        if self.place.depth == 0 and code.is_compiled(self.place.name):
            return [Found(self.place.entry, "code", "runs", code.COMPILED)]
        inner = [*self._tar(), *self._zip(), *self._packed()]
        own = self._pickle()
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

    def _pickle(self) -> Found:
        """What the entry is as a pickle, safetensors or plain data."""
        # As a pickle, a zip would begin by asking its loader for an object, which plain unpicklers refuse.
        if self.head.startswith(_ZIP):
            return Found(self.place.entry, "data", "data")
        entry, suffix = self.place.entry, PurePosixPath(self.place.name).suffix
        start = _numpy_start(self.extent) if self.head.startswith(_NUMPY) else 0
        found = pickles(self.extent, start, suffix, self.budget, self.place.allows)
        kind = checkpoint.kind_of_head(self.head, suffix)
        if not found and kind == "safetensors":
            return Found(entry, "weights", "safe", checkpoint.KINDS[kind])
        if not found:
            return Found(entry, "data", "data", checkpoint.KINDS[kind] if kind == "onnx" else "")
        return _as_pickle(entry, kind, found)

    def _zip(self) -> list[Found]:
        headed = self.head.startswith(_ZIP)
        if not headed and _ZIP_END not in self.extent.read(max(self.extent.length - _TAIL, 0), _TAIL):
            return []
        try:
            with ExitStack() as stack:
                file = os.fdopen(os.dup(self.extent.fd), "rb")
                stack.callback(file.close)
                source = ZipSource(Path(self.place.entry), file, safety.Limits(), self.extent)
                safety.check(source.listing, safety.Limits())
                return self._members(source)
        except DamagedArchive as error:
            # What only ends like a zip, by chance, is none that anything opens.
            return [unjudged(self.place.entry, "archive", f"is a damaged zip: {error.message}")] if headed else []
        except ArchiveError as error:
            return [unjudged(self.place.entry, "archive", _why(error))]

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
        self._spend(entry.size)
        with source.open(entry) as file, spooled(until_end(file)) as extent:
            found = look(place, extent, self.budget)
            if extent.length != entry.size:
                found.append(unjudged(place.entry, "data", "is damaged: it cannot be unpacked"))
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
            with source.open(entry) as file:
                data = file.read(code.LONGEST_CONFIG)
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
        except (tarfile.TarError, ArchiveError, EOFError, ValueError) as error:
            found.append(unjudged(self.place.entry, "archive", f"is a damaged tar: {error}"))
        return found

    def _tar_member(self, info: tarfile.TarInfo) -> list[Found]:
        entry = tar.as_entry(info)
        try:
            safety.check(safety.Listing(self.place.entry, self.extent.length, (entry,)), safety.Limits())
        except RefusedArchive as error:
            return [unjudged(self.place.entry, "archive", _why(error))]
        if not entry.is_file:
            return []
        extent = Extent(self.extent.fd, self.extent.offset + info.offset_data, info.size)
        return look(self.place.inside(entry.name, is_allowed), extent, self.budget)

    def _packed(self) -> list[Found]:
        """A file that is compressed as a whole: what comes out is the same entry."""
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
        for chunk in chunks:
            self._spend(len(chunk))
            yield chunk

    def _spend(self, count: int) -> None:
        self.budget.unpacked -= count
        if self.budget.unpacked < 0:
            raise Spent

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


def _numpy_start(extent: Extent) -> int:
    """Where the data of a .npy file begins, which is a pickle where its type is `object`."""
    width = 2 if extent.read(6, 1) == b"\1" else 4
    return 8 + width + int.from_bytes(extent.read(8, width), "little")


def _why(error: ArchiveError) -> str:
    return f"cannot be looked into: {error.message}"
