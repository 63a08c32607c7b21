"""A file or folder being written beside its target: it becomes the target whole, or leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from archiver.errors import CannotWrite


def cannot_write(target: Path, error: OSError) -> CannotWrite:
    """The error for a write that the operating system refused."""
    return CannotWrite(f"cannot write {target}: {error.strerror or error}")


def umask() -> int:
    """The process's file mode mask. Reading it means setting it for a moment."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


class DraftFile:
    """A new file in the target's folder. `publish` renames it to the target, `abort` removes it."""

    def __init__(self, target: Path) -> None:
        self._target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        self._path = Path(name)
        self.file = os.fdopen(handle, "wb", buffering=1 << 20)

    def publish(self) -> None:
        self.file.flush()
        os.fchmod(self.file.fileno(), 0o666 & ~umask())
        self.file.close()
        self._path.replace(self._target)

    def abort(self) -> None:
        with suppress(OSError):  # on a full disk the last flush fails again; the first failure is the one reported
            self.file.close()
        self._path.unlink(missing_ok=True)


class DraftFolder:
    """A new folder beside the target. `publish` puts it in the target's place, which may be an older folder."""

    def __init__(self, target: Path) -> None:
        self._target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))

    def publish(self) -> None:
        self.path.chmod(0o777 & ~umask())
        if not self._target.exists():
            self.path.rename(self._target)
            return
        old = self.path.with_suffix(".old")
        self._target.rename(old)
        try:
            self.path.rename(self._target)
        except OSError:
            old.rename(self._target)
            raise
        shutil.rmtree(old)

    def abort(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
