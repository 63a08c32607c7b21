"""The other end of `runner.offline.child`: a model in a process of its own, asked by name."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from archiver.errors import ArchiveError
from archiver.requirements import not_installed
from runner import wire
from runner.pool.spawner import process_environment
from runner.profile.messages import Recorded

_LINES = 12


class ModelFailed(ArchiveError):
    """The model cannot be loaded, or its process ended."""

    code = "model/failed"


class LoadedModel:
    """The model of one order, READY. Raises ModelFailed with what it printed last; so does every question."""

    def __init__(self, load: wire.Load) -> None:
        self._printed = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runner.offline.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env=process_environment(),
            text=True,
            bufsize=1,
        )
        try:
            found = self._ask("load", load=msgspec.to_builtins(load))
            if "failed" in found:
                hint = not_installed(Path(load.model_dir), load.manifest["model"].get("requirementsFile"))
                raise ModelFailed("\n  ".join([found["failed"], *found["trace"][-_LINES:]]), hint=hint)
        except BaseException:
            self.close()
            raise
        self.seconds: float = found["seconds"]
        self.report: dict[str, Any] = found["report"]
        #: Most bytes that the process held before the model was loaded: torch, and what comes with it.
        self.base: int = found["base"]

    def milliseconds(self, batch: int, seconds: float = 0.3, *, stage: str = "handle") -> float:
        """Median time of one batch of samples, measured for so long; `stage`: the whole handler or a part of it."""
        return float(self._ask("time", batch=batch, seconds=seconds, stage=stage))

    def rate(self, batch: int, seconds: float) -> float:
        """Rows a second in batches of that size, measured for so long."""
        return float(self._ask("rate", batch=batch, seconds=seconds))

    def takes(self, rows: int, batch: int) -> float:
        """Seconds for so many rows, a multiple of `batch`, in batches of that size."""
        return float(self._ask("takes", rows=rows, batch=batch))

    def use(self, files: Sequence[tuple[Path, str]]) -> None:
        """Take these as samples, in turn, instead of the archive's own: files with their content types."""
        self._ask("use", files=[(str(file), content_type) for file, content_type in files])

    def profile(self, batch: int, batches: int, trace: Path) -> Recorded:
        """So many batches recorded, the trace in a file. Raises ModelFailed also for samples that are refused."""
        found = self._ask("profile", batch=batch, batches=batches, trace=str(trace))
        if "refused" in found:
            raise ModelFailed(found["refused"])
        return msgspec.convert(found, Recorded)

    def outputs(self, file: Path) -> None:
        """Write what the model answers to one sample: a safetensors file, tensors by number."""
        self._ask("outputs", file=str(file))

    def dtypes(self) -> dict[str, str]:
        """Name of each weight → its type as it is served."""
        return dict(self._ask("dtypes"))

    def peak(self) -> int:
        """Most bytes that the process has held."""
        return int(self._ask("peak"))

    def gpu_peak(self) -> int:
        """Most bytes of a GPU that torch has held for it; 0 without one."""
        return int(self._ask("gpu_peak"))

    def _ask(self, name: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ModelFailed(f"the model's process ended with status {self._process.wait()}\n{self._last_lines()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ModelFailed(answer["error"])
        return answer["answer"]

    def _last_lines(self) -> str:
        self._printed.seek(0)
        return "\n".join(self._printed.read().splitlines()[-_LINES:])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._printed):
            assert stream is not None
            stream.close()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
