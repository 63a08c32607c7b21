"""A server that outlives the shell that started it: `archive torchserve --start` and `--stop`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from archiver.errors import ArchiveError, CannotWrite, ServeFailed
from archiver.store import cache_root

_LAST_LINES = 15
_EVERY = 0.05


class AlreadyRunning(ArchiveError):
    """One server at a time is started this way, as TorchServe does it."""

    code = "serve/already-running"

    def __init__(self, pid: int) -> None:
        super().__init__(f"a server is running already, process {pid}", hint="archive torchserve --stop")


def running() -> psutil.Process | None:
    """The server that was started this way; None when there is none, or what the file names is another process."""
    try:
        known = json.loads(_file().read_text())
        process = psutil.Process(known["pid"])
        return process if process.create_time() == known["started"] else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None


class Registration:
    """While it is taken, this process is what `running` finds."""

    def __enter__(self) -> Registration:
        self._taken = False
        return self

    def take(self) -> None:
        """From now on. Raises CannotWrite."""
        own = psutil.Process()
        try:
            _file().parent.mkdir(parents=True, exist_ok=True)
            _file().write_text(json.dumps({"pid": own.pid, "started": own.create_time()}))
        except OSError as error:
            raise CannotWrite(f"cannot write {_file()}: {error.strerror or error}") from error
        self._taken = True

    def __exit__(self, *_: object) -> None:
        if self._taken:
            _file().unlink(missing_ok=True)


def start(arguments: Sequence[str], log: Path) -> int:
    """Run `archive ARGUMENTS` in the background, its output in `log`; the pid, once it is READY.

    Raises AlreadyRunning, ServeFailed with its last words, and CannotWrite.
    """
    before = running()
    if before is not None:
        raise AlreadyRunning(before.pid)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output:
            length = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "archiver", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise CannotWrite(f"cannot write {log}: {error.strerror or error}") from error
    with _ended_by_ctrl_c(process):
        _wait_until_ready(process, log, length)
    return process.pid


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, before: int) -> None:
    """`before`: how long the log was when the process started."""
    while (found := running()) is None or found.pid != process.pid:
        if process.poll() is not None:
            lines = log.read_bytes()[before:].decode("utf-8", "replace").splitlines()[-_LAST_LINES:]
            raise ServeFailed("the server ended before it was ready:\n  " + "\n  ".join(lines), hint=f"see {log}")
        time.sleep(_EVERY)


@contextmanager
def _ended_by_ctrl_c(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        process.terminate()
        raise


def stop(seconds: float) -> bool:
    """Ask the server to finish and wait for its end; False when there is none. Raises ServeFailed when it stays."""
    process = running()
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(seconds)
        except psutil.TimeoutExpired as error:
            hint = f"kill -9 {process.pid} loses what it has accepted"
            raise ServeFailed(f"process {process.pid} is still there after {seconds:g} s", hint=hint) from error
    return True


def _file() -> Path:
    return cache_root() / "torchserve.pid"


def log_folder() -> Path:
    """Where TorchServe's logs go."""
    return Path(os.environ.get("LOG_LOCATION") or "logs")
