"""Members → files below one folder, each hashed while it is written. For `extract` and the store.

The names have passed safety.py; here every file is made new (O_EXCL, O_NOFOLLOW), so that nothing outside the
folder can be reached even if a name slipped through.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.archive import Archive, MemberInfo
from archiver.containers.draft import DraftFolder, cannot_write
from archiver.containers.source import Extent
from archiver.containers.streams import damaged, until_end
from archiver.errors import CannotWrite, OutputExists
from archiver.progress import Advance, Progress, silent

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_PIECE = 16 << 20
#: copy_file_range between these two files is not offered: other file system, old kernel, not a plain file.
_NO_COPY = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def unpack_into(archive: Archive, folder: Path, progress: Progress = silent) -> list[tuple[str, str]]:
    """Write every member below an empty folder and return (name, sha256) of each.

    Raises DamagedArchive where a member is not what the manifest says, OSError where the disk refuses.
    """
    total = sum(member.size for member in archive.members)
    with progress(f"unpacking {archive.path.name}", total) as advance:
        return [(member.name, _unpack(archive, member, folder, advance)) for member in archive.in_file_order]


def extract(archive: Archive, target: Path, *, force: bool = False, progress: Progress = silent) -> int:
    """Unpack to `target`, which appears whole or not at all; return the number of files.

    With `force` the files are put among those of a folder that is there already, replacing those of the same
    name. Raises OutputExists, CannotWrite, DamagedArchive.
    """
    fill = target.is_dir() and any(target.iterdir())
    if (fill or target.is_file()) and not force:
        raise OutputExists(str(target))
    with _drafted(target) as draft:
        unpack_into(archive, draft.path, progress)
        if fill:
            _put_among((member.name for member in archive.members), draft.path, target)
            draft.abort()
        else:
            draft.publish()
    return len(archive.members)


@contextmanager
def _drafted(target: Path) -> Iterator[DraftFolder]:
    """A folder beside the target, removed when the block fails."""
    try:
        draft = DraftFolder(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield draft
    except OSError as error:
        draft.abort()
        raise cannot_write(target, error) from error
    except BaseException:
        draft.abort()
        raise


def _put_among(names: Iterable[str], draft: Path, target: Path) -> None:
    root = target.resolve()
    for name in names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.parent.resolve().is_relative_to(root):
            raise CannotWrite(f"cannot write {place}: a link there leads outside {target}")
        (draft / name).replace(place)


def _unpack(archive: Archive, member: MemberInfo, folder: Path, advance: Advance) -> str:
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    extent = archive.extent(member.name) if member.sha256 is not None else None
    fd = os.open(path, _NEW, 0o644)
    try:
        sha256 = _copy(extent, fd, advance) if extent else _stream(archive, member.name, fd, advance)
    finally:
        os.close(fd)
    if member.sha256 not in (None, sha256):
        raise damaged(str(archive.path), member.name, "was altered: its sha256 is not the one in the manifest")
    return sha256


def _stream(archive: Archive, name: str, fd: int, advance: Advance) -> str:
    found = hashlib.sha256()
    with archive.open_member(name) as content, os.fdopen(os.dup(fd), "wb") as file:
        for chunk in until_end(content):
            file.write(chunk)
            found.update(chunk)
            advance(len(chunk))
    return found.hexdigest()


def _copy(extent: Extent, fd: int, advance: Advance) -> str:
    """Copy inside the kernel (a reflink where the file system can) and hash what arrived: it is what will be
    read, and the pass leaves it in the page cache.
    """
    found = hashlib.sha256()
    done = 0
    while done < extent.length:
        count = _copy_piece(extent, done, fd)
        if count == 0:
            break
        found.update(os.pread(fd, count, done))
        done += count
        advance(count)
    return found.hexdigest()


def _copy_piece(extent: Extent, done: int, fd: int) -> int:
    wanted = min(_PIECE, extent.length - done)
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(extent.fd, fd, wanted, extent.offset + done, done)
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise
    return os.pwrite(fd, os.pread(extent.fd, wanted, extent.offset + done), done)
