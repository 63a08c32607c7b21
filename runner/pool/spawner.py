"""Asks the template process for forks, and tells who has exited.

The template imports torch once; a worker forked from it is there in hundredths of a second. When the template
dies it is started again; its workers live on, and requests for new ones wait for the new template.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runner

log = logging.getLogger("archive.template")


@dataclass(frozen=True, slots=True)
class Platform:
    """What the template found: torch's version and the accelerators, without initialising any."""

    torch: str
    cuda: int
    mps: bool


@dataclass(frozen=True, slots=True)
class Process:
    """A forked worker: its pid, our end of its socket, and the pipe of what it prints."""

    pid: int
    sock: socket.socket
    output: int


class TemplateBroken(Exception):
    """The template process cannot start: torch or our own worker code does not import."""


def _environment() -> dict[str, str]:
    """One thread for every library until the worker decides; our packages importable; nothing from the cwd."""
    root = str(Path(runner.__file__).parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


class Spawner:
    """The template process, kept alive."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Platform] | None = None
        self._turn = asyncio.Lock()
        self._forked: asyncio.Future[int] | None = None
        self._on_exit: dict[int, Callable[[int], None]] = {}
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The template's process id."""
        return self._template.pid if self._template else None

    def start(self) -> None:
        """Start the template; `platform` tells when it has imported torch."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        arguments = [sys.executable, "-m", "runner.worker.template", str(theirs.fileno()), *self._preload]
        self._template = subprocess.Popen(
            arguments,
            env=_environment(),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._control = ours
        loop = asyncio.get_running_loop()
        if self._ready is None or self._ready.done():
            self._ready = loop.create_future()
        self._reader = loop.create_task(self._read(ours, self._template))

    async def platform(self) -> Platform:
        """What the template found. Raises TemplateBroken."""
        assert self._ready is not None, "platform() before start()"
        return await asyncio.shield(self._ready)

    async def fork(self, on_exit: Callable[[int], None]) -> Process:
        """A new worker process. `on_exit` gets its exit status (negative: the signal that ended it).

        Raises TemplateBroken. A template that dies meanwhile is waited for: the request goes to the next one.
        """
        async with self._turn:
            while True:
                await self.platform()
                with contextlib.suppress(ConnectionError):
                    return await self._fork_once(on_exit)
                # Give the reader its turn to see that the template has gone.
                await asyncio.sleep(0.01)

    async def _fork_once(self, on_exit: Callable[[int], None]) -> Process:
        assert self._control is not None
        ours, theirs = socket.socketpair()
        output_read, output_write = os.pipe()
        self._forked = asyncio.get_running_loop().create_future()
        try:
            request = json.dumps({"fork": ours.fileno()}).encode() + b"\n"
            socket.send_fds(self._control, [request], [theirs.fileno(), output_write])
            pid = await self._forked
        except BaseException:
            ours.close()
            os.close(output_read)
            raise
        finally:
            theirs.close()
            os.close(output_write)
        self._on_exit[pid] = on_exit
        return Process(pid, ours, output_read)

    async def _read(self, control: socket.socket, template: subprocess.Popen[bytes]) -> None:
        """Hear the template's events until it closes; then start the next one."""
        loop = asyncio.get_running_loop()
        buffer = b""
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(control, 65536):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        control.close()
        imported = self._ready is not None and self._ready.done()
        if imported and not self._closing:
            self._ready = loop.create_future()
        await loop.run_in_executor(None, template.wait)
        self._template_gone(template.returncode, imported)

    def _hear(self, event: dict[str, Any]) -> None:
        assert self._ready is not None
        if event["event"] == "hello":
            for module, reason in event["failed"].items():
                log.warning("preload: cannot import %s: %s", module, reason)
            self._ready.set_result(Platform(event["torch"], event["cuda"], event["mps"]))
        elif event["event"] == "broken":
            reasons = "; ".join(f"{module}: {reason}" for module, reason in event["reasons"].items())
            self._ready.set_exception(TemplateBroken(reasons))
            self._closing = True
        elif event["event"] == "forked":
            if self._forked is not None and not self._forked.done():
                self._forked.set_result(event["pid"])
        else:
            self._exited(event["pid"], event["status"])

    def _exited(self, pid: int, status: int) -> None:
        on_exit = self._on_exit.pop(pid, None)
        if on_exit is not None:
            on_exit(status)

    def _template_gone(self, status: int, imported: bool) -> None:
        assert self._ready is not None
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(ConnectionResetError("the template process died"))
        if self._closing:
            return
        if not imported:
            self._ready.set_exception(TemplateBroken(f"it ended with status {status} while importing"))
            return
        log.warning("the template process died (status %d); starting another", status)
        self.start()

    async def close(self) -> None:
        """End the template. Workers end by themselves when their links close."""
        self._closing = True
        if self._control is not None and self._control.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
        if self._template is not None and self._template.poll() is None:
            self._template.terminate()
        if self._reader is not None:
            await self._reader
