"""Running the declared sample through the serving path, watched at the module's edge."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from runner.optimize.batch import rows_of
from runner.optimize.edge import Call, Edge, Watch
from runner.optimize.step import StepFailed
from runner.optimize.verify import Verdict, compare

#: Rounds of one before/after measurement: as many as fit into `_BUDGET` seconds, at least `_LEAST` unless they take
#: more than `_PATIENCE` seconds, at most `_MOST`.
_LEAST, _MOST, _BUDGET, _PATIENCE = 3, 15, 0.15, 3.0


class Target(Protocol):
    """The handler's model, as the worker hands it in. `has_sample`: `warmup.input` is declared."""

    has_sample: bool

    def get(self) -> nn.Module | None:
        """The module to optimise; None when the handler exposes none."""

    def exercise(self, n: int) -> None:
        """Run the sample as one batch of `n` rows through the handler, exactly as a request would.

        Raises what the handler raises, for a single row too.
        """


@dataclass(frozen=True, slots=True)
class Pace:
    """Median milliseconds per batch size, before and after, measured in turn."""

    before: dict[int, float]
    after: dict[int, float]

    @property
    def speedup(self) -> dict[int, float]:
        """How many times faster, per batch size."""
        return {size: ms / self.after[size] for size, ms in self.before.items()}


class Trial:
    """The sample at batch 1 and at `batch_size`; verified at the sizes in `also` as well."""

    def __init__(
        self, target: Target, edge: Edge, device: torch.device, batch_size: int, also: Collection[int] = ()
    ) -> None:
        self._target = target
        self._edge = edge
        self._device = device
        self.sizes = tuple(sorted({1, batch_size}))
        self._verified = sorted({*self.sizes, *also})
        self._reference: dict[int, list[Call]] = {}

    def take_reference(self) -> None:
        """Keep the outputs of the model as it is now. Raises what the handler raises, and StepFailed when the
        sample went through the handler without a call of the model."""
        self._reference = {size: self._calls(size, copies=True) for size in self._verified}
        least, most = self._reference[self.sizes[0]], self._reference[self.sizes[-1]]
        self._edge.rows = rows_of(least, most, self.sizes[-1])
        self._edge.samples = (least[0], most[0]) if len(least) == len(most) == 1 else ()

    def warm(self, sizes: tuple[int, ...], iterations: int) -> None:
        """Run the sample at these sizes, else at its own. Raises what the model raises."""
        for size in sizes or self.sizes:
            for _ in range(iterations):
                self._calls(size, copies=False)

    def verdicts(self) -> dict[int, Verdict]:
        """The outputs now against the reference, per batch size."""
        return {size: compare(calls, self._calls(size, copies=True)) for size, calls in self._reference.items()}

    def pace(self, before: Callable[[], None], after: Callable[[], None]) -> Pace:
        """Medians of both states, taken in turn so that a machine that slows down slows both."""
        taken = {size: self._in_turn(size, before, after) for size in self.sizes}
        return Pace({s: pair[0] for s, pair in taken.items()}, {s: pair[1] for s, pair in taken.items()})

    def _in_turn(self, size: int, before: Callable[[], None], after: Callable[[], None]) -> tuple[float, float]:
        times: tuple[list[float], list[float]] = ([], [])
        start = time.monotonic()
        while _goes_on(len(times[0]), time.monotonic() - start):
            for switch, column in zip((before, after), times, strict=True):
                switch()
                self._calls(size, copies=False)  # the first call after a switch finds cold caches
                column.append(sum(call.seconds for call in self._calls(size, copies=False)) * 1000)
        return statistics.median(times[0]), statistics.median(times[1])

    def _calls(self, size: int, *, copies: bool) -> list[Call]:
        watch = Watch(self._device, copies)
        self._edge.watch = watch
        try:
            self._target.exercise(size)
        except Exception:
            if not watch.errors:
                raise
        finally:
            self._edge.watch = None
        if watch.errors:
            raise watch.errors[0]  # the model's own error, whatever the handler made of it
        if not watch.calls:
            raise StepFailed("the sample went through the handler without a call of the model")
        return watch.calls


def _goes_on(rounds: int, seconds: float) -> bool:
    """Whether to measure another round after so many."""
    limit = _PATIENCE if rounds < _LEAST else _BUDGET
    return rounds == 0 or (rounds < _MOST and seconds < limit)
