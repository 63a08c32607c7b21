"""The scan of an archive, a folder, or a file on its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from archiver.archive import Archive, MemberInfo
from archiver.containers.formats import is_archive
from archiver.containers.source import Extent
from archiver.containers.streams import until_end
from archiver.errors import ArchiveError, UntrustedPickle
from archiver.scan.extents import spooled
from archiver.scan.found import DAMAGED, Found, unjudged, worst
from archiver.scan.look import Budget, Place, look


@dataclass(frozen=True, slots=True)
class Report:
    """What a scan found, entry by entry, what lies in an entry behind it."""

    path: Path
    found: tuple[Found, ...]

    @property
    def verdict(self) -> str:
        """The worst of all."""
        return worst(each.verdict for each in self.found)

    def require_safe(self) -> None:
        """Raises UntrustedPickle where something is refused: for whoever loads it without trusting its maker."""
        if self.refused:
            raise UntrustedPickle(str(self.path), [each.wants() for each in self.refused])

    @property
    def refused(self) -> tuple[Found, ...]:
        """Where the refused things themselves are, not what they lie in."""
        return tuple(each for each in self.found if each.refused)


def scan(path: Path) -> Report:
    """Look into an archive, a folder or a single file. Nothing in it is run.

    Raises NotFound, DamagedArchive and RefusedArchive for an archive that cannot be opened, ArchiveError for a file
    that cannot be read.
    """
    if path.is_dir():
        return scan_folder(path, path)
    if not is_archive(path):
        return scan_files(path, [(path.name, path)])
    budget = Budget()
    with Archive.open(path) as archive:
        found = [each for one in archive.in_file_order for each in _member(archive, one, budget)]
    return Report(path, tuple(found))


def scan_folder(path: Path, folder: Path) -> Report:
    """Look into every file of a folder, hidden ones, too. `path`: of the archive that was unpacked there."""
    inside = sorted(Path(where, name) for where, folders, names in os.walk(folder) for name in (*folders, *names))
    named = [(each.relative_to(folder).as_posix(), each) for each in inside]
    linked = (unjudged(name, "archive", "is a link to a folder") for name, each in named if _is_linked(each))
    report = scan_files(path, ((name, each) for name, each in named if each.is_file()))
    return replace(report, found=(*report.found, *linked))


def _is_linked(path: Path) -> bool:
    return path.is_dir() and path.is_symlink()


def scan_files(path: Path, files: Iterable[tuple[str, Path]]) -> Report:
    """Look into files that lie on the disk; each with the name that it has in the archive at `path`."""
    budget = Budget()
    found: list[Found] = []
    for name, file in files:
        with _extent(file) as extent:
            found += look(Place(name, name), extent, budget)
    return Report(path, tuple(found))


def _member(archive: Archive, member: MemberInfo, budget: Budget) -> list[Found]:
    place = Place(member.name, member.name)
    extent = archive.extent(member.name)
    if extent is not None:
        return look(place, extent, budget)
    with archive.open_member(member.name) as file, spooled(until_end(file)) as copy:
        found = look(place, copy, budget)
        damaged = copy.length != member.size
    return [*found, *([unjudged(member.name, "data", DAMAGED)] if damaged else [])]


@contextmanager
def _extent(file: Path) -> Iterator[Extent]:
    try:
        opened = file.open("rb")
    except OSError as error:
        raise ArchiveError(f"cannot read {file}: {error.strerror}") from error
    with opened:
        yield Extent(opened.fileno(), 0, os.fstat(opened.fileno()).st_size)
