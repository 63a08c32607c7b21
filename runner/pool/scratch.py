"""Temporary folders of sandboxed workers: each has its own, named by its pid, and it goes when the worker does."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

log = logging.getLogger("archive.server")


class Scratch:
    """They lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remove(self, pid: int) -> None:
        """That worker has ended. Returns at once: it may have left much."""
        asyncio.get_running_loop().run_in_executor(None, _remove, self.folder / str(pid))


@contextmanager
def scratch_folder() -> Iterator[Scratch]:
    """A new one, for as long as a server lives."""
    with TemporaryDirectory(prefix="torch-archive-", ignore_cleanup_errors=True) as folder:
        yield Scratch(Path(folder))


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except (OSError, RecursionError) as error:
        log.warning("cannot remove %s, which a worker has left: %s", folder, error)
