"""Plain folders: the `no-archive` format, and models that lie unpacked on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from archiver.containers import streams
from archiver.containers.draft import DraftFolder
from archiver.containers.source import Extent
from archiver.errors import DamagedArchive
from archiver.safety import Entry, Kind, Listing

#: Folders that are never part of a model: caches, version control, what macOS adds to a zip.
SKIPPED_FOLDERS = frozenset({"__pycache__", "__MACOSX"})


def belongs(folder: str) -> bool:
    """Whether a folder of this name is looked into: no caches, none that starts with a dot."""
    return folder not in SKIPPED_FOLDERS and not folder.startswith(".")


class DirectorySink:
    """Writes members as files, mode 0644 less the umask, in a new folder that takes the target's place."""

    def __init__(self, target: Path) -> None:
        self._draft = DraftFolder(target)
        self._file: BinaryIO | None = None

    def begin(self, name: str, size: int) -> None:
        path = self._draft.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")

    def write(self, chunk: bytes) -> None:
        assert self._file is not None, "write before begin"
        self._file.write(chunk)

    def end(self) -> None:
        assert self._file is not None, "end before begin"
        self._file.close()
        self._file = None

    def publish(self) -> None:
        self._draft.publish()

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
        self._draft.abort()


class DirectorySource:
    """Reads a folder; one that holds nothing but one folder is looked through, as SageMaker unpacks them.

    The folder is the user's own: a link to a file is read as the file. A link to a folder is listed as a link.
    """

    kind = "directory"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = _model_folder(path)
        entries = tuple(_walk(self.root))
        total = sum(entry.size for entry in entries)
        self.listing = Listing(str(path), total, entries)

    def open(self, entry: Entry) -> BinaryIO:
        """A file's content, checked against the size it was listed with."""
        file = (self.root / entry.name).open("rb")
        return streams.as_file(streams.checked(_closing(file), entry, str(self.path)))

    def extent(self, entry: Entry) -> Extent | None:
        return None

    def close(self) -> None:
        """Nothing is held open."""


def _model_folder(path: Path) -> Path:
    children = [child for child in path.iterdir() if belongs(child.name)]
    if len(children) == 1 and children[0].is_dir() and children[0].name != "MAR-INF":
        return children[0]
    if not children:
        raise DamagedArchive("is an empty folder", where=str(path))
    return path


def _walk(root: Path) -> Iterator[Entry]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if belongs(name))
        for name in sorted(files) + [name for name in names if (Path(folder) / name).is_symlink()]:
            if not name.endswith(".pyc"):
                yield _entry(root, Path(folder) / name)


def _entry(root: Path, path: Path) -> Entry:
    name = path.relative_to(root).as_posix()
    if path.is_file():
        size = path.stat().st_size
        return Entry(name, size, size, Kind.FILE, "stored")
    return Entry(name, 0, 0, Kind.LINK if path.is_symlink() else Kind.SPECIAL, "stored")


def _closing(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from streams.until_end(file)
