"""A server as a child process: started, asked until it answers rightly, weighed, stopped with all that it started."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from archiver.errors import ArchiveError
from benchmarks.side_by_side.apps.asked import NAMES
from benchmarks.side_by_side.cells import Cell
from benchmarks.side_by_side.environments import python_of
from benchmarks.side_by_side.servers import Server
from runner.asking import NoAnswer, Refused, Target, post

APPS = Path(__file__).resolve().parent / "apps"
JSON = "application/json"
#: The same for every server: one thread for torch and the tokeniser, nothing fetched.
ENVIRONMENT = {
    "PYTHONPATH": str(APPS),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
}
_PORTS = 5
#: First ports, below those that the system gives to clients.
_BLOCKS = cycle(range(18200, 20200, _PORTS))
_START_LIMIT, _STOP_LIMIT = 120.0, 20.0
_ASK_EVERY = 0.02
#: Characters of a server's own words.
_SHOWN = 160


class DoesNotServe(ArchiveError):
    """The server did not start, or does not answer what the workload answers."""

    code = "benchmarks/does-not-serve"


class Running:
    """A server of one cell, answering rightly. Raises DoesNotServe."""

    def __init__(self, server: Server, cell: Cell, outputs: list[Any], delay_ms: int, cache: Path) -> None:
        self.server = server
        self._expected = list(zip(cell.what.samples(), outputs, strict=True))
        self._folder = tempfile.TemporaryDirectory(prefix="side-by-side-", ignore_cleanup_errors=True)
        self._marks = Path(self._folder.name, "marks")
        self._marks.mkdir()
        self._seen: dict[int, psutil.Process] = {}
        self.target = Target("http", "127.0.0.1", _free_port(), server.path)
        values = (
            cell.workload,
            cell.workers,
            cell.what.batch,
            delay_ms,
            self.target.port,
            self._marks,
            self._folder.name,
        )
        self._log = cache / "logs" / f"{server.name}-{cell.name.replace(', ', '-').replace(' ', '-')}.log"
        started = time.perf_counter()
        self._process = self._start(cache, dict(zip(NAMES, map(str, values), strict=True)))
        try:
            self._wait_for(*self._expected[0])
            self.seconds = time.perf_counter() - started
            self.check()
        except BaseException:
            self.stop()
            raise

    def _start(self, cache: Path, asked: dict[str, str]) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **ENVIRONMENT, **asked}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with self._log.open("wb") as log:
            command = [str(python_of(self.server, cache)), str(APPS / self.server.app)]
            return subprocess.Popen(
                command,
                cwd=self._folder.name,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for(self, given: Any, output: Any) -> None:
        deadline, reason = time.monotonic() + _START_LIMIT, "no answer"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DoesNotServe(f"it ended with status {self._process.returncode}: {self._last_words()}")
            try:
                if is_close(self.ask(given), output):
                    return
                reason = "a wrong answer"
            except (NoAnswer, Refused) as error:
                reason = str(error)
            time.sleep(_ASK_EVERY)
        raise DoesNotServe(f"nothing right within {_START_LIMIT:.0f} s of its start: {reason}")

    def check(self) -> None:
        """All samples at once, so that batches form: each has to get its own answer. Raises DoesNotServe."""
        with ThreadPoolExecutor(len(self._expected)) as pool:
            try:
                answers = list(pool.map(self.ask, (given for given, _ in self._expected)))
            except (NoAnswer, Refused) as error:
                raise DoesNotServe(f"it fails at {len(self._expected)} requests at once: {error}") from error
        pairs = zip(answers, self._expected, strict=True)
        wrong = sum(not is_close(answer, output) for answer, (_, output) in pairs)
        if wrong:
            raise DoesNotServe(f"{wrong} of {len(answers)} answers are not what the same code answers offline")

    def ask(self, given: Any) -> Any:
        """What the model behind it says of one input. Raises NoAnswer, Refused."""
        answer = post(self.target, self.server.form.body(given), JSON, _START_LIMIT)
        return self.server.form.output(answer.body)

    def workers(self) -> list[int]:
        """The processes that have loaded the model and live, oldest first."""
        marks = sorted((float(mark.read_text() or 0), int(mark.name)) for mark in self._marks.iterdir())
        return [pid for _, pid in marks if psutil.pid_exists(pid)]

    def memory(self) -> int | None:
        """Bytes of all its processes, shared pages counted once; None where the system does not tell."""
        shares = []
        for process in self._tree():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                shares.append(getattr(process.memory_full_info(), "pss", None))
        known = [share for share in shares if share is not None]
        return sum(known) if len(known) == len(shares) else None

    def _tree(self) -> list[psutil.Process]:
        """Its children, and whatever else carries our mark: some servers leave processes to init."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            self._seen |= {process.pid: process for process in [root, *root.children(recursive=True)]}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(NAMES[-1]) == self._folder.name:
                    self._seen[process.pid] = process
        return [process for process in self._seen.values() if process.is_running()]

    def stop(self) -> None:
        """As an operator does; what does not end is killed."""
        self._tree()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_LIMIT)
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(self._seen.values(), timeout=_STOP_LIMIT)
        self._folder.cleanup()

    def _last_words(self) -> str:
        """The last error that it told, else its last line."""
        lines = [line.strip() for line in self._log.read_text("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it said nothing"])[-1][:_SHOWN]

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def is_close(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of floats."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_close, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_close(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-4
    return bool(one == other)


def _free_port() -> int:
    """The first of some in a row that nobody has, nor had a moment ago: not every server can take such a one."""
    return next(port for port in _BLOCKS if all(_is_free(port + step) for step in range(_PORTS)))


def _is_free(port: int) -> bool:
    with socket.socket() as place:
        try:
            place.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
