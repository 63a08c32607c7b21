"""Batches of a loaded model: timed, looked at, recorded by torch.profiler. Runs in the model's own process.

Rules of the room
1. Each pass is of the same batches. The first is timed without the profiler, so its cost is in no time that is told.
2. Compiled code is not taken apart: it would be another model, and eager.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from runner import wire
from runner.profile.figures import BATCH, FORWARD
from runner.profile.messages import Call, Recorded, WithoutPadding
from runner.profile.padding import call_of
from runner.profile.ranges import Span, instead, ranges, why_not_apart
from runner.worker.session import Session

#: Batches that go first and count nowhere.
_FIRST = 2
#: Rows that are put beside copies of themselves, at most.
_COPIED = 24
_UNFIT, _FAILED = "archive_recompiles", "archive_compiled_failures"

Batches = Sequence[Sequence[wire.Row]]


class BadInput(Exception):
    """The handler refuses what it was given."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`batches` batches of `batch` rows, taken in turn from `rows`; the trace goes to `trace`."""

    rows: Sequence[wire.Row]
    batch: int
    batches: int
    trace: Path

    def each(self) -> list[list[wire.Row]]:
        rows, size = self.rows, self.batch
        return [
            [rows[(number * size + place) % len(rows)] for place in range(size)] for number in range(self.batches)
        ]


def record(session: Session, wanted: Wanted) -> Recorded:
    """All passes. Raises BadInput, and what user code raises."""
    batches = wanted.each()
    _run(session, batches[:_FIRST], _Clock(session).span)
    clock = _Clock(session)
    counted = _run(session, batches, clock.span)
    calls = _looked_at(session, batches)
    _traced(session, batches, wanted.trace)
    return Recorded(
        milliseconds=clock.medians(),
        unfit=int(counted[_UNFIT]),
        failed=int(counted[_FAILED]),
        calls=calls,
        padding=_without_padding(session, batches) if any(call.padded for call in calls) else None,
        not_apart=why_not_apart(session.module),
        processor=torch.cuda.get_device_name(session.device) if session.device.type == "cuda" else None,
    )


def _answered(session: Session, rows: Sequence[wire.Row]) -> Sequence[wire.Metric]:
    answered = session.answer(rows)
    for reply in answered.replies:
        if reply.status >= 400:
            text = reply.body.decode(errors="replace")[:300]
            raise BadInput(f"the handler answered {reply.status} to an input: {text}")
    return answered.metrics


def _run(session: Session, batches: Batches, span: Span, *, apart: bool = False) -> dict[str, float]:
    """The batches with their ranges; the sums of what they reported."""
    counted: dict[str, float] = defaultdict(float)
    with ranges(session, span, apart=apart):
        for rows in batches:
            with span(BATCH):
                metrics = _answered(session, rows)
            for metric in metrics:
                counted[metric.name] += metric.value
    return counted


class _Clock:
    """Milliseconds by range and batch. Kernels run on after a call returned, so the device is waited for."""

    def __init__(self, session: Session) -> None:
        self._cuda = session.device.type == "cuda"
        self._batch: dict[str, float] = defaultdict(float)
        self.batches: list[dict[str, float]] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        started = self._now()
        try:
            yield
        finally:
            self._batch[name] += (self._now() - started) * 1000
            if name == BATCH:
                self.batches.append(dict(self._batch))
                self._batch.clear()

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return perf_counter()

    def medians(self) -> dict[str, float]:
        """By range, over the batches."""
        names = dict.fromkeys(name for each in self.batches for name in each)
        return {name: statistics.median(each.get(name, 0.0) for each in self.batches) for name in names}

    def mean(self, name: str) -> float:
        return statistics.fmean(each[name] for each in self.batches)


def _looked_at(session: Session, batches: Batches) -> list[Call]:
    """What the module was given."""
    module, calls = session.module, list[Call]()
    if module is None:
        return []

    def around(own: Any) -> Any:
        def looking(*args: Any, **kwargs: Any) -> Any:
            calls.append(call_of(module, args, kwargs))
            return own(*args, **kwargs)

        return looking

    with instead(module, "forward", around):
        for rows in batches:
            _answered(session, rows)
    return calls


def _traced(session: Session, batches: Batches, trace: Path) -> None:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if session.device.type == "cuda" else [])]
    with profile(activities=activities, record_shapes=True) as profiler:
        _run(session, batches, record_function, apart=True)
    profiler.export_chrome_trace(str(trace))


def _without_padding(session: Session, batches: Batches) -> WithoutPadding:
    """Batches as they came, and in turn with them batches of one row's copies."""
    rows = [row for batch in batches for row in batch]
    rows = rows[:: -(-len(rows) // _COPIED)]
    as_it_came, copied = _Clock(session), _Clock(session)
    for number, row in enumerate(rows):
        batch = batches[number % len(batches)]
        _run(session, [batch], as_it_came.span)
        _run(session, [[row] * len(batch)], copied.span)
    return WithoutPadding(as_it_came.mean(FORWARD), copied.mean(FORWARD))
