"""A process with one model, as a worker has it: `python -m runner.offline.child`, orders as JSON lines on stdin.

It is a process of its own because a session takes its process over, and so that time to load and memory are the
model's alone. Answers are JSON lines on stdout; what the model prints goes to stderr.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file
from torch import nn

from runner import wire
from runner.optimize.tensors import tensors_in
from runner.worker.sample import row_from, sample_row
from runner.worker.session import LoadError, Session

_LEAST = 3


class Child:
    """The orders by name. `load` comes first."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._samples: list[wire.Row] = []
        self._next = itertools.cycle(self._samples)

    def load(self, load: dict[str, Any]) -> dict[str, Any]:
        """Load the model: seconds, the report and most bytes before; or why it failed."""
        order = msgspec.convert(load, wire.Load)
        self._session = Session(order)
        base = self.peak()
        started = time.perf_counter()
        try:
            report = self._session.open()
        except LoadError as error:
            return {"failed": f"{error.kind}: {error.message}", "trace": error.trace}
        seconds = time.perf_counter() - started
        sample = sample_row(Path(order.model_dir), order.config["warmup"]["input"])
        self._take([] if sample is None else [sample])
        return {"seconds": seconds, "report": report, "base": base}

    def use(self, files: list[tuple[str, str]]) -> int:
        """Take these as samples instead: files and their content types; how many."""
        self._take([row_from(Path(file), content_type) for file, content_type in files])
        return len(self._samples)

    def _take(self, samples: list[wire.Row]) -> None:
        self._samples = samples
        self._next = itertools.cycle(samples)

    def time(self, batch: int, seconds: float, stage: str) -> float:
        """Median milliseconds of that stage (`wire.Ran.seconds`) of a batch of samples, over so many seconds."""
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < _LEAST or time.perf_counter() < end:
            times.append(self._answered(batch, stage) * 1000)
        return statistics.median(times)

    def rate(self, batch: int, seconds: float) -> float:
        """Rows a second in batches of that size, over so many seconds: slow batches count as long as they take."""
        rows, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            self._answered(batch)
            rows += batch
        return rows / passed

    def takes(self, rows: int, batch: int) -> float:
        """Seconds for so many rows in batches of that size."""
        started = time.perf_counter()
        for _ in range(rows // batch):
            self._answered(batch)
        return time.perf_counter() - started

    def profile(self, batch: int, batches: int, trace: str) -> dict[str, Any]:
        """Record so many batches of samples; what was seen, or what is wrong with the samples."""
        from runner.profile.recording import BadInput, Wanted, record

        assert self._session is not None, "this is a bug: nothing is loaded"
        try:
            recorded = record(self._session, Wanted(self._samples, batch, batches, Path(trace)))
        except BadInput as error:
            return {"refused": str(error)}
        plain: dict[str, Any] = msgspec.to_builtins(recorded)
        return plain

    def outputs(self, file: str) -> int:
        """Keep what the model answers to one sample in a safetensors file; how many tensors."""
        kept: list[torch.Tensor] = []
        hook = self._module.register_forward_hook(lambda module, inputs, output: kept.extend(tensors_in(output)))
        try:
            self._answered(1)
        finally:
            hook.remove()
        tensors = {str(place): tensor.detach().cpu().contiguous().clone() for place, tensor in enumerate(kept)}
        save_file(tensors, file)
        return len(kept)

    def dtypes(self) -> dict[str, str]:
        """Name of each weight → its type as it is served."""
        return {name: str(each.dtype).removeprefix("torch.") for name, each in self._module.state_dict().items()}

    def peak(self) -> int:
        """Most bytes that this process has held."""
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024

    def gpu_peak(self) -> int:
        """Most bytes of a GPU that torch has held for this process; 0 without one."""
        return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0

    @property
    def _module(self) -> nn.Module:
        assert self._session is not None, "this is a bug: an order came before `load`"
        if self._session.module is None:
            raise LookupError("the handler exposes no torch module")
        return self._session.module

    def _answered(self, batch: int, stage: str = "handle") -> float:
        assert self._session is not None and self._samples, "this is a bug: nothing is loaded"
        # On from where the last batch ended: every sample is measured, also of more than a batch.
        rows = list(itertools.islice(self._next, batch))
        return self._session.answer(rows).seconds[stage]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    child = Child()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        order: Callable[..., Any] = getattr(child, name)
        try:
            answer = {"answer": order(**arguments)}
        except Exception as error:  # noqa: BLE001  user code may raise anything; the parent says what it was
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
