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
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runner
from runner.pool.scratch import Scratch

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


def process_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """One thread for every library until the worker decides; our packages importable; nothing from the cwd.
    `variables`: those of the server that it sees; all by default."""
    shown = os.environ if variables is None else variables
    root = str(Path(runner.__file__).parents[1])
    paths = [root, *filter(None, shown.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **shown,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


class _Template:
    """One template process, from its start to its end.

    `ready` resolves to what it found, or fails with TemplateBroken; `ended` when the process is gone.
    """

    def __init__(
        self,
        preload: Sequence[str],
        environment: Mapping[str, str],
        python: str,
        on_exit: Callable[[int, int], None],
    ) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self.process = subprocess.Popen(
            [python, "-m", "runner.worker.template", str(theirs.fileno()), *preload],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Platform] = loop.create_future()
        self._forked: asyncio.Future[int] | None = None
        self._on_exit = on_exit
        self.ended = loop.create_task(self._read())

    @property
    def is_broken(self) -> bool:
        """It could not import what workers need."""
        return self.ready.done() and self.ready.exception() is not None

    async def fork(self, fds: list[int], processes: int, patience: float) -> int:
        """The pid of a new worker that got these descriptors, of its first process if it has several. Raises
        ConnectionError when the template dies, or does not answer within `patience` seconds, which ends it."""
        if self._control.fileno() < 0:
            raise ConnectionResetError("the template process died")
        self._forked = asyncio.get_running_loop().create_future()
        request = json.dumps({"fork": fds[0], "processes": processes}).encode() + b"\n"
        socket.send_fds(self._control, [request], fds)
        try:
            return await asyncio.wait_for(self._forked, patience)
        except asyncio.TimeoutError:
            log.error("the template process gave no answer in %g s; ending it", patience)
            self.process.kill()
            raise ConnectionResetError("the template process did not answer") from None

    async def _read(self) -> None:
        """Hear the template's events until it closes its end."""
        loop = asyncio.get_running_loop()
        buffer = b""
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(self._control, 65536):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        self._control.close()
        await loop.run_in_executor(None, self.process.wait)
        if not self.ready.done():
            self._break(f"it ended with status {self.process.returncode} while importing")
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(ConnectionResetError("the template process died"))

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "hello":
            for module, reason in event["failed"].items():
                log.warning("preload: cannot import %s: %s", module, reason)
            self.ready.set_result(Platform(event["torch"], event["cuda"], event["mps"]))
        elif event["event"] == "broken":
            self._break("; ".join(f"{module}: {reason}" for module, reason in event["reasons"].items()))
        elif event["event"] == "exited":
            self._on_exit(event["pid"], event["status"])
        elif self._forked is not None and not self._forked.done():
            self._forked.set_result(event["pid"])

    def _break(self, reason: str) -> None:
        self.ready.set_exception(TemplateBroken(reason))
        self.ready.exception()  # told to whoever asks; nobody has to

    async def end(self) -> None:
        """Hang up and wait for its end. Workers go on until their own links close."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if self.process.poll() is None:
            self.process.terminate()
        await self.ended


class Spawner:
    """The template process, kept alive. `environment`: of it and its workers; by default ours. `python`: the
    interpreter that runs it. `patience`: seconds that a fork may take; it takes hundredths of one. `scratch`: where
    its workers have temporary folders."""

    def __init__(
        self,
        preload: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
        patience: float = 10.0,
        scratch: Scratch | None = None,
    ) -> None:
        self._preload = tuple(preload)
        self._scratch = scratch
        self._patience = patience
        self._environment = process_environment() if environment is None else environment
        self._python = python
        self._template: _Template | None = None
        self._turn = asyncio.Lock()
        self._on_exit: dict[int, Callable[[int], None]] = {}
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The template's process id."""
        return self._template.process.pid if self._template else None

    def start(self) -> None:
        """Start the template; `platform` tells when it has imported torch."""
        template = self._template = _Template(self._preload, self._environment, self._python, self._exited)
        template.ended.add_done_callback(lambda _: self._replace(template))

    async def platform(self) -> Platform:
        """What the template found. Raises TemplateBroken."""
        assert self._template is not None, "platform() before start()"
        return await asyncio.shield(self._template.ready)

    async def fork(self, on_exit: Callable[[int], None], processes: int = 1) -> Process:
        """A new worker. `on_exit` gets its exit status (negative: the signal that ended it). `processes`: of how many
        it consists; the others live and die with the first, which is the one that is told of.

        Raises TemplateBroken, and OSError when descriptors or processes have run out; the next call tries again. A
        template that dies meanwhile is replaced and waited for: the request goes to the next one.
        """
        async with self._turn:
            while True:
                if self._template is None or self._template.is_broken:
                    self.start()
                await self.platform()
                template = self._template
                assert template is not None
                with contextlib.suppress(ConnectionError):
                    return await self._fork(template, on_exit, processes)
                await asyncio.shield(template.ended)
                # Awaiting what has ended gives nobody a turn, so the replacement cannot be left to its callback.
                self._replace(template)
                if self._template is template:
                    raise TemplateBroken("the server is stopping")

    async def _fork(self, template: _Template, on_exit: Callable[[int], None], processes: int) -> Process:
        with ExitStack() as theirs, ExitStack() as ours:
            sock, far_end = socket.socketpair()
            ours.callback(sock.close)
            theirs.callback(far_end.close)
            output, far_output = os.pipe()
            ours.callback(os.close, output)
            theirs.callback(os.close, far_output)
            pid = await template.fork([far_end.fileno(), far_output], processes, self._patience)
            ours.pop_all()
        self._on_exit[pid] = on_exit
        return Process(pid, sock, output)

    def _exited(self, pid: int, status: int) -> None:
        on_exit = self._on_exit.pop(pid, None)
        if self._scratch is not None:
            self._scratch.remove(pid)
        if on_exit is not None:
            on_exit(status)

    def _replace(self, template: _Template) -> None:
        """A template that worked and died is followed by another; one that never worked is not, until asked for."""
        if self._closing or template.ended.cancelled() or template is not self._template or template.is_broken:
            return
        log.warning("the template process died (status %d); starting another", template.process.returncode)
        self.start()

    async def close(self) -> None:
        """End the template. Workers end by themselves when their links close."""
        self._closing = True
        if self._template is not None:
            await self._template.end()
