"""Unpack once: archives by the digest of their content, under one cache folder.

    <cache>/models/<digest>/   the model folder: what a handler sees as model_dir
    <cache>/seen/<identity>    the digest of an archive file that was unpacked before

Plan:
  - A file that was seen (same device, inode, size, times) is neither hashed nor opened again.
  - Unpacking goes to a new folder that is renamed to its digest: whole or not there. Two processes may race;
    the second finds the place taken and uses it.
  - Whoever uses or fills a folder holds a lock on it (flock on the folder itself), so that pruning leaves it.
  - After each unpacking the least recently used folders beyond the limit go.
A plain folder is served in place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from archiver.archive import Archive
from archiver.containers.formats import stem
from archiver.errors import CannotWrite, DamagedArchive
from archiver.manifest import MANIFEST, Manifest, digest, parse
from archiver.progress import Progress, silent
from archiver.unpack import unpack_into

#: Bytes of unpacked archives that are kept; the environment or `--max-size` say otherwise.
MAX_SIZE = 50_000_000_000
CACHE_VARIABLE = "TORCH_ARCHIVE_CACHE"

_MODELS = "models"
_SEEN = "seen"
_FILLING = ".filling-"
#: Seconds; a folder younger than this may not have its lock yet.
_ABANDONED_AFTER = 60


#: Asked before an archive is unpacked: the digest of the content that may be; raises ArchiveError to refuse it.
Gate = Callable[[Archive], str]


class Lease:
    """A lock that keeps a folder of the cache from being pruned, until `release` or the end of the process."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor that holds the lock: a child that inherits it holds the lock, too."""
        assert self._fd is not None, "the lease has been released"
        return self._fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A model folder ready to be served. `digest` of its content; `lease` keeps it while it is in use."""

    model_dir: Path
    manifest: Manifest
    digest: str
    config_text: str | None
    lease: Lease = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """A model folder in the cache: `size` in bytes, `used` in seconds since 1970, `busy` while leased."""

    digest: str
    model: str
    path: Path
    size: int
    used: float
    busy: bool


def cache_root() -> Path:
    """$TORCH_ARCHIVE_CACHE, else torch-archive under $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch-archive"


def unpack(
    path: Path,
    *,
    cache: Path | None = None,
    max_size: int = MAX_SIZE,
    progress: Progress = silent,
    gate: Gate | None = None,
) -> Unpacked:
    """The model folder of an archive, unpacked unless it is there already; then others beyond `max_size` bytes go.

    A plain folder is served in place; hashing it leaves it in the page cache for the workers. With a `gate` the
    archive is opened each time, and what was unpacked is what the gate has let pass.

    Raises NotFound, DamagedArchive, RefusedArchive; CannotWrite where the cache is read-only or full; and what the
    gate raises.
    """
    if path.is_dir():
        return _in_place(path, gate)
    root = (cache or cache_root()).absolute()
    try:
        return (None if gate else _known(path, root)) or _new(path, root, max_size, progress, gate)
    except OSError as error:
        message = f"cannot unpack {path} to {root}: {error.strerror or error}"
        raise CannotWrite(message, hint=f"point {CACHE_VARIABLE} to a folder with room to write") from error


def stored(cache: Path | None = None) -> list[Stored]:
    """What the cache holds, most recently used first."""
    folders = (cache or cache_root()) / _MODELS
    found = [_stored(path) for path in _children(folders)]
    return sorted(filter(None, found), key=lambda entry: entry.used, reverse=True)


def prune(max_size: int, *, cache: Path | None = None) -> list[Stored]:
    """Remove least recently used folders until `max_size` bytes are left, never one in use; return them.

    What a killed process left half-filled goes too.
    """
    root = cache or cache_root()
    for path in _abandoned(root / _MODELS):
        _remove(path)
    kept = 0
    removed = []
    for entry in stored(root):
        kept += entry.size
        if kept > max_size and _remove(entry.path):
            kept -= entry.size
            removed.append(entry)
    _forget(root)
    return removed


def _in_place(path: Path, gate: Gate | None) -> Unpacked:
    with Archive.open(path) as archive:
        if gate is not None:
            gate(archive)
        return Unpacked(archive.root.absolute(), archive.manifest, archive.digest, archive.config_text(), Lease(None))


def _known(path: Path, root: Path) -> Unpacked | None:
    """The model folder of a file that was seen before, if it is still there."""
    try:
        found = _seen_file(path, root).read_text("ascii")
    except FileNotFoundError:
        return None
    lease = _leased(root / _MODELS / found)
    return None if lease is None else _opened(path, root / _MODELS / found, found, lease)


def _new(path: Path, root: Path, max_size: int, progress: Progress, gate: Gate | None) -> Unpacked:
    with Archive.open(path) as archive:
        claimed = gate(archive) if gate else archive.claimed_digest
        lease = _leased(root / _MODELS / claimed) if claimed else None
        if claimed is None or lease is None:
            claimed, lease = _filled(archive, root, progress, claimed)
            prune(max_size, cache=root)
    _remember(path, root, claimed)
    return _opened(path, root / _MODELS / claimed, claimed, lease)


def _opened(path: Path, folder: Path, found: str, lease: Lease) -> Unpacked:
    """Read manifest and config from the model folder; the archive's name stands in where it has no manifest."""
    with suppress(OSError):  # a cache on a read-only disk serves; it only loses the order of use
        os.utime(folder)
    with Archive.of_folder(folder, stem(path)) as archive:
        return Unpacked(archive.root, archive.manifest, found, archive.config_text(), lease)


def _filled(archive: Archive, root: Path, progress: Progress, claimed: str | None) -> tuple[str, Lease]:
    """Unpack into a new folder and move it to its digest, which must be the claimed one."""
    models = root / _MODELS
    models.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix=_FILLING, dir=models))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        found = digest(unpack_into(archive, folder, progress))
        if claimed not in (None, found):
            raise DamagedArchive("changed while it was being unpacked", where=str(archive.path))
        target = models / found
        return found, _moved(folder, target, lock)
    except BaseException:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _moved(folder: Path, target: Path, lock: int) -> Lease:
    """Rename to the final place; where another process was first, its folder is as good."""
    while True:
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return Lease(lock)
        lease = _leased(target)
        if lease is not None:
            os.close(lock)
            shutil.rmtree(folder)
            return lease


def _leased(folder: Path) -> Lease | None:
    """A shared lock on a model folder, or None where it is not there (any more)."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_SH)  # waits while it is being pruned; then it is another folder, or none
    with suppress(FileNotFoundError):
        if folder.stat().st_ino == os.fstat(fd).st_ino:
            return Lease(fd)
    os.close(fd)
    return None


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the folder, and nobody can start to within the block."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _locked(fd)
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> bool:
    """Take a folder out of its place, then delete it; False where it is in use or another process was faster."""
    doomed = folder.with_name(f"{_FILLING}{folder.name.removeprefix(_FILLING)}-old")
    try:
        with _unused(folder) as unused:
            if unused:
                folder.rename(doomed)
                shutil.rmtree(doomed)
            return unused
    except FileNotFoundError:
        return False


def _stored(folder: Path) -> Stored | None:
    """What is known of a model folder, or None where another process removes it meanwhile."""
    try:
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        with _unused(folder) as unused:
            return Stored(folder.name, _model_name(folder), folder, size, folder.stat().st_mtime, not unused)
    except FileNotFoundError:
        return None


def _model_name(folder: Path) -> str:
    """The model's name and version, or nothing where the archive had no manifest."""
    file = folder / MANIFEST
    if not file.is_file():
        return ""
    manifest = parse(file.read_bytes(), str(folder))
    return f"{manifest.model_name} {manifest.model_version}"


def _children(folder: Path) -> list[Path]:
    """What is in a cache folder, without what is still being filled."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(_FILLING)]


def _abandoned(models: Path) -> list[Path]:
    """Folders that were being filled a while ago. Whether a process still fills them, its lock tells."""
    found = models.glob(f"{_FILLING}*")
    return [path for path in found if time.time() - _touched(path) > _ABANDONED_AFTER]


def _touched(path: Path) -> float:
    """When a folder was last changed; now, where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _identity(path: Path) -> str:
    stat = path.stat()
    facts = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _seen_file(path: Path, root: Path) -> Path:
    return root / _SEEN / _identity(path)


def _remember(path: Path, root: Path, found: str) -> None:
    file = _seen_file(path, root)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_FILLING, dir=file.parent)
    with os.fdopen(handle, "w", encoding="ascii") as draft:
        draft.write(found)
    Path(name).replace(file)


def _forget(root: Path) -> None:
    """Drop what was remembered about folders that are gone."""
    for file in _children(root / _SEEN):
        if not (root / _MODELS / file.read_text("ascii")).is_dir():
            file.unlink(missing_ok=True)
