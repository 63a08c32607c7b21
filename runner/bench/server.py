"""`archive serve` as a child: started on a free port, stopped in peace."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from archiver.errors import ArchiveError
from runner.asking import Target, target_of
from runner.pool.spawner import process_environment

#: Seconds for accepted requests and for the workers to end.
_STOP_LIMIT = 45
_LINES = 12


class NoServer(ArchiveError):
    """The server of this bench did not become ready."""

    code = "bench/no-server"


class Server:
    """A server of one archive, READY. In a session of its own, so that Ctrl-C is ours to pass on. Raises NoServer."""

    def __init__(self, archive: Path, arguments: Sequence[str]) -> None:
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed in `close`
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "archiver", "serve", str(archive), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**process_environment(), "NO_COLOR": "1"},
            text=True,
            start_new_session=True,
        )
        try:
            self.target = self._ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Since the start command."""
        return time.perf_counter() - self._started

    def end_in_words(self) -> str | None:
        """How the server ended, None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return "\n  ".join([f"the server ended {how}", *self._last_lines()])

    def _ready(self) -> Target:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.partition(" ")
            if word == "ready":
                return target_of(rest.split()[0], "", 0, None)
        self._process.wait()
        raise NoServer("\n  ".join(["the server did not start", *self._last_lines()]))

    def _last_lines(self) -> list[str]:
        self._log.seek(0)
        return self._log.read().splitlines()[-_LINES:]

    def close(self) -> None:
        """Stop it as an operator does; what does not stop, or not soon enough for who waits, is killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_LIMIT)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
