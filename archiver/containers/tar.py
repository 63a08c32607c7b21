"""Tar archives (.tar.gz) with one root folder, as TorchServe's `tgz` format and SageMaker have them."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from archiver.containers import streams
from archiver.containers.draft import DraftFile
from archiver.containers.source import Extent
from archiver.errors import DamagedArchive
from archiver.safety import Entry, Kind, Limits, Listing, refuse

_BLOCK = 512
#: zlib's window bits for a gzip stream whose header holds neither time nor name.
_GZIP = 16 + zlib.MAX_WBITS
#: Members up to this size are kept while the list is read, so that `inspect` unpacks the stream once.
_KEPT = 256 * 1024
_KEPT_ALL = 32 << 20
#: tarfile reads an extended header whole; a real one is far smaller.
_LONGEST_READ = 4 << 20


class TarSink:
    """Writes members under one folder named like the archive. Same members, same bytes (for one zlib)."""

    def __init__(self, target: Path) -> None:
        self._draft = DraftFile(target)
        self._gzip = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._root = target.name.removesuffix(".tar.gz")
        self._left = 0
        self._at = 0

    def begin(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(f"{self._root}/{name}")
        info.size = size
        self._left = -size % _BLOCK
        self.write(info.tobuf(tarfile.PAX_FORMAT))

    def write(self, chunk: bytes) -> None:
        self._draft.file.write(self._gzip.compress(chunk))
        self._at += len(chunk)

    def end(self) -> None:
        self.write(bytes(self._left))

    def publish(self) -> None:
        self.write(bytes(2 * _BLOCK))
        self.write(bytes(-self._at % tarfile.RECORDSIZE))
        self._draft.file.write(self._gzip.flush())
        self._draft.publish()

    def abort(self) -> None:
        self._draft.abort()


@dataclass(frozen=True, slots=True)
class _Found:
    """A member of the list; `kept` is its content where that is small."""

    entry: Entry
    info: tarfile.TarInfo
    kept: bytes | None


class TarSource:
    """Reads a .tar.gz. The list is read by unpacking the stream once; every header is checked before its data."""

    kind = "tgz"

    def __init__(self, path: Path, file: BinaryIO, limits: Limits) -> None:
        self.path = path
        self._file = file
        self._limits = limits
        self._size = path.stat().st_size
        with self._damage():
            self._gzip = gzip.GzipFile(fileobj=file)
            stream = cast(BinaryIO, _Guarded(self._gzip, str(path)))  # tarfile calls nothing but its four methods
            self._tar = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115  # closed in close()
            found = _below_root(self._read_list())
            self._refuse_rest()
        self._found = {one.entry.name: one for one in found}
        self.listing = Listing(str(path), self._size, tuple(one.entry for one in found))

    def open(self, entry: Entry) -> BinaryIO:
        """A member's content, checked against its size as it is read."""
        found = self._found[entry.name]
        chunks = self._chunks(found.info) if found.kept is None else iter([found.kept])
        return streams.as_file(streams.checked(chunks, entry, str(self.path)))

    def extent(self, entry: Entry) -> Extent | None:
        return None

    def close(self) -> None:
        self._tar.close()
        self._gzip.close()
        self._file.close()

    def _chunks(self, info: tarfile.TarInfo) -> Iterator[bytes]:
        with self._damage():
            content = self._tar.extractfile(info)
            assert content is not None, f"{info.name} is no file"
            while chunk := content.read(streams.STEP):
                yield chunk

    def _read_list(self) -> list[_Found]:
        found: list[_Found] = []
        total = kept = 0
        for info in self._tar:
            entry = as_entry(info)
            total += info.size
            self._refuse_growth(entry, total, len(found) + 1)
            keep = entry.is_file and info.size <= min(_KEPT, _KEPT_ALL - kept)
            kept += info.size if keep else 0
            content = b"".join(self._chunks(info)) if keep else None
            if entry.name:
                found.append(_Found(entry, info, content))
        return found

    def _refuse_growth(self, entry: Entry, total: int, count: int) -> None:
        limits = self._limits
        if count > limits.entries:
            raise refuse(str(self.path), "archive/too-many-entries", f"it has more than {limits.entries} members")
        if total > max(limits.floor, self._size * limits.ratio):
            message = f"its {self._size} bytes unpack to {total} at member `{entry.name}`"
            raise refuse(str(self.path), "archive/bomb-ratio", message)
        if total > limits.total:
            message = f"it unpacks to more than {limits.total} bytes, reached at member `{entry.name}`"
            raise refuse(str(self.path), "archive/too-large", message)

    def _refuse_rest(self) -> None:
        """Read to the end, which checks the CRC of the whole stream; only zeros may follow the members."""
        rest = 0
        while chunk := self._gzip.read(streams.STEP):
            rest += len(chunk)
            if rest > _LONGEST_READ or chunk.strip(b"\0"):
                raise refuse(str(self.path), "archive/hidden-entry", "unknown bytes follow its last member")

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise DamagedArchive(f"is no .tar.gz that can be read: {error}", where=str(self.path)) from error


class _Guarded:
    """The unpacked stream as tarfile reads it, without a read so large that it must be an attack."""

    def __init__(self, file: gzip.GzipFile, archive: str) -> None:
        self._file = file
        self._archive = archive
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _LONGEST_READ:
            raise refuse(self._archive, "archive/bomb-ratio", f"one of its headers claims {count} bytes")
        return self._file.read(count)


def as_entry(info: tarfile.TarInfo) -> Entry:
    """A member as the safety rules look at it."""
    return Entry(_plain(info.name), info.size, None, _kind(info), "deflated")


def _plain(name: str) -> str:
    """Without the `./` that `tar czf x.tar.gz .` puts before every name."""
    while name.startswith("./"):
        name = name[2:]
    return "" if name == "." else name


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.isdir():
        return Kind.DIRECTORY
    if info.issym() or info.islnk():
        return Kind.LINK
    return Kind.FILE if info.isreg() and not info.issparse() else Kind.SPECIAL


def _below_root(found: list[_Found]) -> list[_Found]:
    """What is below the one root folder, or everything as it is where there is none."""
    roots = {one.entry.name.partition("/")[0] for one in found}
    flat = any(one.entry.is_file and "/" not in one.entry.name for one in found)
    root = "" if flat or len(roots) != 1 else roots.pop()
    if root in ("", "..", "MAR-INF"):
        return found
    short = (
        replace(one, entry=replace(one.entry, name=one.entry.name.removeprefix(root).removeprefix("/")))
        for one in found
    )
    return [one for one in short if one.entry.name]
