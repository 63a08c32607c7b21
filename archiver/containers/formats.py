"""Formats. `open_source` finds out what a path is; `FORMATS` says what `--archive-format` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from archiver.containers.directory import DirectorySink, DirectorySource
from archiver.containers.source import Sink, Source
from archiver.containers.tar import TarSink, TarSource
from archiver.containers.zip import ZipSink, ZipSource
from archiver.errors import ArchiveError, DamagedArchive, NotFound
from archiver.safety import Limits

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Format:
    """What `create` writes for a format name: the target's ending and its sink."""

    suffix: str
    sink: Callable[[Path], Sink]


#: torch-model-archiver's names. Its `default` deflates; ours stores, so that bytes do not depend on a zlib build.
FORMATS = {
    "default": Format(".mar", ZipSink),
    "zip-store": Format(".mar", ZipSink),
    "tgz": Format(".tar.gz", TarSink),
    "no-archive": Format("", DirectorySink),
}

_SUFFIXES = (".tar.gz", ".tgz", ".mar", ".zip")


def stem(path: Path) -> str:
    """An archive's file name without what says that it is an archive."""
    name = path.resolve().name
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)


def is_archive(path: Path) -> bool:
    """Whether the name says that it is an archive of a model or a workflow, or it is a folder."""
    return path.is_dir() or path.name.endswith((*_SUFFIXES, ".war"))


def open_source(path: Path, limits: Limits) -> Source:
    """Open whatever is at `path`. Raises NotFound, DamagedArchive for what is no archive, RefusedArchive."""
    if path.is_dir():
        return DirectorySource(path)
    file = _open(path)
    try:
        is_tar = file.peek(2)[:2] == _GZIP_MAGIC
        return TarSource(path, file, limits) if is_tar else ZipSource(path, file, limits)
    except BaseException:
        file.close()
        raise


def _open(path: Path) -> BufferedReader:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except OSError as error:
        raise ArchiveError(f"cannot read {path}: {error.strerror}") from error
    if path.stat().st_size == 0:
        file.close()
        raise DamagedArchive("is empty", where=str(path))
    return file
