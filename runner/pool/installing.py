"""One command that installs something: in a process group of its own, so that it can be ended with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runner.pool.link import OutputLines

#: Seconds for what is left to be read when the command has ended.
_LAST_WORDS = 1.0


class Installing:
    """A running command. Use as `await Installing.start(…)`."""

    def __init__(
        self, process: asyncio.subprocess.Process, output: OutputLines, printed: asyncio.Future[None]
    ) -> None:
        self._process = process
        self._output = output
        self._printed = printed

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        folder: Path,
        variables: Mapping[str, str],
        held: int,
        on_line: Callable[[str], None],
    ) -> Installing:
        """Start it in `folder`; what it prints goes to `on_line`. `held`: a descriptor that it keeps open, too.

        Raises OSError.
        """
        loop = asyncio.get_running_loop()
        printed: asyncio.Future[None] = loop.create_future()
        output = OutputLines(on_line, lambda _: printed.set_result(None))
        read, write = os.pipe()
        try:
            await loop.connect_read_pipe(lambda: output, os.fdopen(read, "rb", 0))
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                pass_fds=[held],
                start_new_session=True,
            )
        finally:
            os.close(write)
        return cls(process, output, printed)

    async def ended(self, limit: float) -> int:
        """Its exit status. It is ended where it takes longer than `limit` seconds, which raises asyncio.TimeoutError,
        and where the caller is cancelled."""
        try:
            status = await asyncio.wait_for(self._process.wait(), limit)
        except BaseException:
            self.kill()
            await self._process.wait()
            raise
        finally:
            # What it started may live on and hold the pipe.
            await asyncio.wait({self._printed}, timeout=_LAST_WORDS)
            self._output.close()
            await self._printed
        return status

    def kill(self) -> None:
        """End it with all it has started."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
