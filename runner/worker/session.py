"""One loaded model in a worker process: `open` makes it ready, `run` answers batches.

Rules of the room
1. `open` and `run` are the border: whatever user code raises there becomes a LoadError or a wire.Raised.
   `load` and `answer` do the same work without the border, so that `archive run` shows real tracebacks.
2. Warm-up, optimisation and traffic go through one path, `answer`, on the thread that called `open`.
3. The session takes the process over: working directory, import path, torch's thread counts.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from msgspec import structs
from torch import nn

from archiver.config.model import ModelConfig, from_plain
from runner import wire
from runner.compat import hook
from runner.handlers.context import Context
from runner.handlers.errors import CannotLoad
from runner.optimize.cache import CompileCache, key_fields
from runner.optimize.guarded import Guarded, guard_of
from runner.optimize.meanwhile import optimise_meanwhile
from runner.optimize.pipeline import left_alone, optimise, standard_steps
from runner.optimize.shipped import Shipped
from runner.worker import failures
from runner.worker.context import context_for
from runner.worker.continuous import Continuous
from runner.worker.failures import LoadError
from runner.worker.handling import Handling, WrongResult, by_question
from runner.worker.loader import Entry, enveloped, load_handler
from runner.worker.pieces import Collected, Deliver
from runner.worker.sample import sample_row

__all__ = ["Answered", "LoadError", "Session", "WrongResult"]


@dataclass(frozen=True, slots=True)
class Answered:
    """One reply per row, in order; the stages' times in seconds; what the handler measured."""

    replies: list[wire.Reply]
    seconds: dict[str, float]
    metrics: list[wire.Metric]


class Session:
    """The model of one `wire.Load`. Constructing it does nothing; `open` loads."""

    def __init__(self, load: wire.Load) -> None:
        self._load = load
        self._model_dir = Path(load.model_dir)
        self._config: ModelConfig = from_plain(load.config)
        self._context: Context = context_for(load, self._config)
        self._entry: Entry | None = None
        self._guard: Guarded | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = (0, 0)
        self._memory = failures.Memory()

    def open(self) -> dict[str, Any]:
        """Load, optimise and warm up; the report of what was done. Raises LoadError."""
        try:
            return self.load()
        except failures.USER_FAILURES as error:
            raise failures.load_error(error, self._model_dir) from error

    def run(
        self, batch_rows: Sequence[wire.Row], batch: int, send: Callable[[wire.Pieces], None] | None = None
    ) -> wire.Ran | wire.Raised:
        """The batch's answers, or the account of why there are none. Never raises for what user code does.

        Pieces of answers go to `send` as they are made, from any thread; without `send` answers come whole.
        """
        deliver = None if send is None else lambda pieces: send(wire.Pieces(batch, pieces))
        try:
            return self._ran(batch, self.answer(batch_rows, deliver))
        except failures.BATCH_FAILURES as error:
            return self._failed(batch, error)

    async def run_beside_others(
        self, batch_rows: Sequence[wire.Row], batch: int, send: Callable[[wire.Pieces], None]
    ) -> wire.Ran | wire.Raised:
        """`run` for an asynchronous handler: other batches may be under way, each with a copy of the context."""
        assert self._entry is not None, "this is a bug: rows came before the model was loaded"
        context = copy.copy(self._context)
        handling = Handling(context, batch_rows, lambda pieces: send(wire.Pieces(batch, pieces)))
        try:
            await handling.run_async(self._entry.handle)
            return self._ran(batch, self._answered(handling, context))
        except failures.BATCH_FAILURES as error:
            return self._failed(batch, error)

    def _ran(self, batch: int, answered: Answered) -> wire.Ran:
        self._memory.sufficed()
        return wire.Ran(batch, answered.replies, answered.seconds, answered.metrics)

    def _failed(self, batch: int, error: BaseException) -> wire.Raised:
        if isinstance(error, WrongResult):
            # TorchServe's sentence is for the client; the log also gets what came instead.
            return wire.Raised(batch, 503, "WrongResult", str(error.args[0]), [str(error.args[1])])
        raised = failures.raised(batch, error, self._model_dir)
        return structs.replace(raised, retire=True) if self._memory.is_used_up(error) else raised

    def load(self) -> dict[str, Any]:
        """`open` without the border: user code's exceptions pass as they are."""
        self._take_over_process()
        cache = self._compile_cache()
        self._entry = self._load_entry()
        sample = sample_row(self._model_dir, self._config.warmup.input)
        optimised = self._optimise(sample) if cache is None else self._compiling(sample, cache)
        return {
            "device": self._load.device,
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "handler": self._entry.name,
            "weights": self._context.weights,
            **optimised,
            "warmup": self._warm_up(sample),
        }

    @property
    def beside_others(self) -> bool:
        """Whether several batches may be under way at once (asyncCommunication)."""
        return self._config.async_communication

    @property
    def is_continuous(self) -> bool:
        """Whether rows join and leave a running batch (continuousBatching)."""
        return self._config.continuous_batching

    def continuous(self, send: Callable[[wire.Frame], None]) -> Continuous:
        """The rows under way of a continuous batch: none yet."""
        assert self._entry is not None, "this is a bug: rows came before the model was loaded"
        return Continuous(self._entry.handle, self._context, self._settled, self._failed, send)

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The one loop of this session: for loading, warm-up and traffic, on the thread that called `open`."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def close(self) -> None:
        """Serve no more."""
        if self._loop is not None:
            self._loop.close()
            asyncio.set_event_loop(None)
            self._loop = None

    def _settled(self, value: Any) -> Any:
        return self.event_loop.run_until_complete(value) if inspect.isawaitable(value) else value

    def _load_entry(self) -> Entry:
        ways = {
            "asyncCommunication": self.beside_others,
            "continuousBatching": self.is_continuous,
            "sequenceBatching": self._config.sequences is not None,
        }
        declared = [key for key, value in ways.items() if value]
        if len(declared) > 1:
            raise CannotLoad(f"{' and '.join(declared)} exclude each other")
        if self._load.world > 1 and (self.beside_others or self.is_continuous):
            raise CannotLoad(f"{declared[0]} needs workers of one process; torchrun declares {self._load.world}")
        entry = load_handler(_handler_in(self._load.manifest), self._context, self._settled)
        if self.beside_others and not entry.is_async:
            raise CannotLoad(f"asyncCommunication needs an asynchronous handler, but {entry.name} is plain `def`")
        return enveloped(entry, self._load.envelope) if self._load.envelope else entry

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self._load.device)

    @property
    def handler(self) -> Any:
        """The handler's object, None for a plain function."""
        return self._entry.instance if self._entry is not None else None

    @property
    def module(self) -> nn.Module | None:
        """The handler's model, when it is a torch module and loaded."""
        model = getattr(self._entry.instance, "model", None) if self._entry is not None else None
        return model if isinstance(model, nn.Module) else None

    def answer(self, batch_rows: Sequence[wire.Row], deliver: Deliver | None = None) -> Answered:
        """The batch's answers. Rows whose body cannot be decoded are answered 400 and not given to the handler.
        Without `deliver` for the pieces of answers they come whole. Raises WrongResult, and what user code raises."""
        if deliver is None:
            collected = Collected()
            answered = self.answer(batch_rows, collected.take)
            return replace(answered, replies=collected.whole(answered.replies))
        assert self._entry is not None, "this is a bug: rows came before the model was loaded"
        if self.is_continuous:
            return self._answered_in_steps(batch_rows)
        parts = by_question(batch_rows)
        if len(parts) > 1:
            return self._answered_in_parts(batch_rows, parts, deliver)
        handling = Handling(self._context, batch_rows, deliver)
        handling.run(self._entry.handle, self._settled)
        return self._answered(handling, self._context)

    def _answered_in_steps(self, batch_rows: Sequence[wire.Row]) -> Answered:
        """Every row to its end; for warm-up, and for whoever runs a model away from a server."""
        assert self._entry is not None, "this is a bug: rows came before the model was loaded"
        kept = [Collected() for _ in batch_rows]
        done: dict[int, wire.Ran] = {}

        def take(frame: wire.Frame) -> None:
            if isinstance(frame, wire.Pieces):
                kept[frame.batch].take(frame.pieces)
            elif isinstance(frame, wire.Ran):
                done[frame.batch] = frame

        def passed_on(_batch: int, error: BaseException) -> wire.Raised:
            raise error

        steps = Continuous(self._entry.handle, self._context, self._settled, passed_on, take)
        for number, row in enumerate(batch_rows):
            steps.take(wire.Run(number, [structs.replace(row, id=f"{row.id}-{number}")]))
        while not steps.is_idle:
            steps.step()
        ran = [done[number] for number in range(len(batch_rows))]
        replies = [reply for each, one in zip(kept, ran, strict=True) for reply in each.whole(one.replies)]
        return Answered(replies, ran[-1].seconds, [metric for each in ran for metric in each.metrics])

    def _answered_in_parts(
        self, batch_rows: Sequence[wire.Row], parts: Sequence[Sequence[int]], deliver: Deliver
    ) -> Answered:
        replies: dict[int, wire.Reply] = {}
        seconds: Counter[str] = Counter()
        metrics: list[wire.Metric] = []
        for places in parts:

            def deliver_here(pieces: Sequence[wire.Piece], places: Sequence[int] = places) -> None:
                deliver([structs.replace(piece, place=places[piece.place]) for piece in pieces])

            answered = self.answer([batch_rows[place] for place in places], deliver_here)
            replies |= dict(zip(places, answered.replies, strict=True))
            seconds.update(answered.seconds)
            metrics += answered.metrics
        return Answered([replies[place] for place in range(len(batch_rows))], dict(seconds), metrics)

    def _answered(self, handling: Handling, context: Context) -> Answered:
        seconds = context.seconds
        context.begin(())
        return Answered(handling.replies, seconds, [*context.metrics.drain(), *self._answered_by_eager()])

    def _answered_by_eager(self) -> list[wire.Metric]:
        """Calls of compiled code that eager had to answer since the last batch: it failed, or nothing compiled
        fitted the call."""
        if self._guard is None or (self._guard.failures, self._guard.recompiles) == self._told:
            return []
        before, self._told = self._told, (self._guard.failures, self._guard.recompiles)
        names = ("archive_compiled_failures", "archive_recompiles")
        new = zip(names, self._told, before, strict=True)
        return [wire.Metric(name, float(now - then), "count", "counter", {}) for name, now, then in new if now > then]

    def _take_over_process(self) -> None:
        load = self._load
        os.chdir(self._model_dir)
        sys.path.insert(0, str(self._model_dir))
        hook.install()
        # torch's own gate: it holds for handlers that call torch.load themselves, too.
        if load.trusted:
            os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)
        else:
            os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        if load.cpus and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, load.cpus)
        os.environ["OMP_NUM_THREADS"] = str(load.threads)
        torch.set_num_threads(load.threads)
        if torch.get_num_interop_threads() != 1:
            torch.set_num_interop_threads(1)

    def _compile_cache(self) -> CompileCache | None:
        """What this worker's compiler will find and leave. Opened before anything is computed: a package that the
        archive brings is tried in a forked child."""
        compile_ = self._config.pt2.compile
        compiles = compile_ is not None and compile_.enable and not self._load.eager_first and self._load.world <= 1
        if not compiles or self._load.compile_cache is None:
            return None
        device = self.device
        fields = key_fields(self._config, device, self._load.digest)
        shipped = Shipped(self._load.manifest, self._model_dir) if self._load.precompiled else None
        cache = CompileCache(Path(self._load.compile_cache), fields, self._config.pt2.timeout, shipped, device)
        cache.open()
        return cache

    def _compiling(self, sample: wire.Row | None, cache: CompileCache) -> dict[str, Any]:
        """`_optimise`, with the compiler's files kept for the next worker."""
        try:
            report = self._optimise(sample, cache.folder)
            report["lines"].append(f"compile cache {cache.state}")
            return {**report, "compileCache": {"key": cache.key, "state": cache.state}}
        finally:
            cache.close()

    def _optimise(self, sample: wire.Row | None, kept: Path | None = None) -> dict[str, Any]:
        """The pipeline's report, and `lines`: the same for the log."""
        assert self._entry is not None
        steps = standard_steps(kept, ahead=self._load.ahead)
        if self._load.world > 1:
            # The steps try and measure, and each rank would come to its own decisions; their calls must be the same.
            why = f"the model is spread over {self._load.world} processes"
            report = left_alone(self._config, self.device, steps, why)
            return {**report.to_dict(), "lines": report.lines()}
        target = _HandlersModel(self, sample)
        apply = optimise_meanwhile if self._load.eager_first else optimise
        report = apply(target, self._config, self.device, steps)
        module = target.get()
        self._guard = guard_of(module) if module is not None else None
        return {**report.to_dict(), "lines": report.lines()}

    def _warm_up(self, sample: wire.Row | None) -> dict[str, Any]:
        """The sample through the handler at every size that traffic brings first, in milliseconds per size."""
        if sample is None:
            return {"input": None, "milliseconds": {}}
        iterations = max(1, self._config.warmup.iterations)
        times = {str(size): self._exercised(sample, size, iterations) for size in self._sizes()}
        return {"input": self._config.warmup.input, "iterations": iterations, "milliseconds": times}

    def _sizes(self) -> list[int]:
        """1, 2, 4, … and the batch size itself: what a growing load meets first. Batches that run beside others are
        of one row."""
        most = 1 if self.beside_others else self._config.batch_size
        powers = [1 << exponent for exponent in range(most.bit_length())]
        return sorted({*powers, most})

    def _exercised(self, sample: wire.Row, size: int, iterations: int) -> float:
        """Milliseconds of the last of `iterations` batches of this size."""
        for _ in range(iterations):
            started = perf_counter()
            self.exercise(sample, size)
        return round((perf_counter() - started) * 1000, 3)

    def exercise(self, sample: wire.Row, size: int) -> None:
        """One batch of `size` samples, as in traffic. Raises CannotLoad when the handler refuses the sample."""
        answered = self.answer([sample] * size)
        refused = next((reply for reply in answered.replies if reply.status >= 400), None)
        if refused is not None:
            text = refused.body.decode(errors="replace")[:500]
            raise CannotLoad(f"the handler answered {refused.status} to the sample (warmup.input): {text}")


class _HandlersModel:
    """The handler's `model` as the optimisation pipeline sees it."""

    def __init__(self, session: Session, sample: wire.Row | None) -> None:
        self._session = session
        self._sample = sample
        self.has_sample = sample is not None

    def get(self) -> nn.Module | None:
        return self._session.module

    def exercise(self, n: int) -> None:
        assert self._sample is not None, "this is a bug: exercise() without a sample"
        self._session.exercise(self._sample, n)


def _handler_in(manifest: Mapping[str, Any]) -> str:
    """The handler as `file:name`; our own key names the class where TorchServe's has the file alone."""
    model = manifest.get("model", {})
    handler, handler_class = model.get("handler"), model.get("handlerClass")
    if not handler:
        raise CannotLoad("the manifest names no handler")
    return f"{handler}:{handler_class}" if handler_class and ":" not in handler else str(handler)
