"""The optimisation pipeline: what is declared is what runs, or the report says what runs instead and why.

Rules of the room
1. Only this file times, measures, catches a step's failure, chooses the fallback and writes the report.
2. A step is "applied" after the sample has run through the serving path with it switched on and the outputs
   were compared with the model as loaded. Without a sample it is "unverified" at best.
3. A step that fails is switched off: the module is as if it had not been tried, and the next step goes on.
4. Loading stops only where the YAML says so: `pt2.fallback: fail`, `quantization.fallback: fail`,
   `verify.action: fail`.
"""

from __future__ import annotations

import math
import re
import time
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from archiver.config.model import ModelConfig
from runner.optimize.attention import AttentionStep
from runner.optimize.compile import CompileStep
from runner.optimize.deadline import TimeIsUp, can_interrupt, deadline
from runner.optimize.edge import Edge
from runner.optimize.memory_format import MemoryFormatStep
from runner.optimize.precision import PrecisionStep
from runner.optimize.quantize import QuantizeStep
from runner.optimize.report import Report, Status, StepReport
from runner.optimize.step import AlreadySo, Change, NotApplicable, OptimiseRefused, Step, StepFailed, Wish
from runner.optimize.threads import threads_row
from runner.optimize.trial import Pace, Target, Trial
from runner.optimize.verify import worst


def standard_steps(kept: Path | None = None, *, ahead: bool = False) -> tuple[Step[Any], ...]:
    """All of them, in order: what changes numbers first, what compiles them last. `kept`, `ahead`: CompileStep's."""
    return (PrecisionStep(), QuantizeStep(), MemoryFormatStep(), AttentionStep(), CompileStep(kept, ahead=ahead))


STEPS = standard_steps()

_NO_SAMPLE = "not exercised: declare warmup.input"
_NO_MODULE = "the handler exposes no torch module"


def optimise(target: Target, config: ModelConfig, device: torch.device, steps: Sequence[Step[Any]] = STEPS) -> Report:
    """Apply what `config` declares to the handler's module, in place, and say what became of it.

    Call it in the thread that will serve, after the handler is initialised. A handler without a torch module is
    left alone. Raises OptimiseRefused where the config forbids a fallback, and whatever the handler raises when
    the sample fails on the model as loaded: then it is no optimisation's fault.
    """
    wishes = [(step, step.declared(config, device)) for step in steps]
    module = target.get()
    if module is None or not any(wish for _, wish in wishes):
        return left_alone(config, device, steps, _NO_MODULE)
    sizes = {size for _, wish in wishes if wish is not None for size in wish.sizes}
    pipeline = _Pipeline(target, Edge(module), config, device, sizes)
    return pipeline.run(wishes)


def left_alone(config: ModelConfig, device: torch.device, steps: Sequence[Step[Any]], why: str) -> Report:
    """The report on a model that nothing is done to, for that reason. Raises OptimiseRefused where the config forbids
    that."""
    rows = (_left_alone(step, step.declared(config, device), why) for step in steps)
    return Report([*rows, threads_row(config)])


def _left_alone(step: Step[Any], wish: Wish[Any] | None, why: str) -> StepReport:
    if wish is None:
        return StepReport(step.name)
    if wish.required:
        raise OptimiseRefused(f"{step.name}: {wish.declared} is declared without a fallback, but {why}")
    return StepReport(step.name, wish.declared, None, Status.NOT_APPLICABLE, why)


class _Pipeline:
    def __init__(
        self, target: Target, edge: Edge, config: ModelConfig, device: torch.device, sizes: Collection[int]
    ) -> None:
        self._edge = edge
        self._config = config
        self._sampled = target.has_sample
        self._trial = Trial(target, edge, device, config.batch_size, sizes)
        self._unseen: str | None = None
        self._started = 0.0  # of the step that is being carried out
        self._changes: list[Change] = []
        self._pace: Pace | None = None  # of the last change that stayed
        self._report = Report()

    def run(self, wishes: Sequence[tuple[Step[Any], Wish[Any] | None]]) -> Report:
        self._edge.attach()
        try:
            self._take_reference()
            self._report.steps = [self._row(step, wish) for step, wish in wishes]
            self._report.steps.append(threads_row(self._config))
            self._measure_whole()
        except BaseException:
            self._undo_all()
            raise
        for change in self._changes:
            change.keep()
        if not self._changes:
            self._edge.detach()
        return self._report

    def _take_reference(self) -> None:
        if not self._sampled:
            return
        try:
            self._trial.take_reference()
        except StepFailed as unseen:
            self._unseen = str(unseen)

    def _row(self, step: Step[Any], wish: Wish[Any] | None) -> StepReport:
        if wish is None:
            return StepReport(step.name)
        row = StepReport(step.name, wish.declared, wish.instead, Status.FALLBACK)
        start = self._started = time.monotonic()
        try:
            self._attempt(step, wish, row)
        except StepFailed as failure:
            self._fell_back(row, wish, failure)
        row.reason = _joined(*wish.notes, row.reason)
        row.seconds = time.monotonic() - start
        return row

    def _attempt(self, step: Step[Any], wish: Wish[Any], row: StepReport) -> None:
        """Raises StepFailed with the module as it was before."""
        if self._unseen:
            raise StepFailed(self._unseen)
        if step.needs_sample and not self._sampled:
            raise StepFailed(_NO_SAMPLE)
        self._climb(step, wish, row)
        if not wish.replaced:
            row.status = Status.APPLIED if self._sampled else Status.UNVERIFIED

    def _climb(self, step: Step[Any], wish: Wish[Any], row: StepReport) -> None:
        """The first of the wish's plans that works. Raises StepFailed with what stopped each of them; a plan that
        fails just as the one before it ends the attempts, for then the plan is not what is wrong."""
        failed: dict[str, str] = {}
        for plan in (wish.plan, *wish.others):
            try:
                self._carry_out(step, plan, row)
            except (NotApplicable, _TooSlow, _TooLate):
                raise
            except StepFailed as failure:
                row.reason = None
                again = str(failure) in failed.values()
                failed[str(plan)] = str(failure)
                if again:
                    break
            else:
                row.measured |= {"failed": failed} if failed else {}
                row.reason = _joined(*(f"{plan}: {reason}" for plan, reason in failed.items()), row.reason)
                return
        raise StepFailed("; ".join(dict.fromkeys(failed.values())))

    def _carry_out(self, step: Step[Any], plan: Any, row: StepReport) -> None:
        try:
            change = step.change(self._edge, plan)
        except AlreadySo as already:
            row.applied, row.reason = already.text, str(already)
        else:
            self._switch_on(change, row)
            row.applied = change.text

    def _switch_on(self, change: Change, row: StepReport) -> None:
        try:
            if self._sampled:
                self._pace = self._prove(change, row)
            else:
                change.on()
        except BaseException as error:  # torch, a backend and the handler may raise anything here
            self._undo(change)
            if isinstance(error, StepFailed | OptimiseRefused) or not isinstance(error, Exception):
                raise
            raise StepFailed(blame(error)) from error
        self._changes.append(change)
        row.reason = _joined(row.reason, *change.notes(), None if self._sampled else _NO_SAMPLE)

    def _prove(self, change: Change, row: StepReport) -> Pace:
        self._warm(change, row)
        row.measured |= change.proven()
        verified = self._verify(row)
        pace = self._trial.pace(change.off, change.on)
        row.measured["speedup"] = _plain(pace.speedup, digits=3)
        _demand(change.min_speedup, pace)
        self._report.verify = verified
        return pace

    def _warm(self, change: Change, row: StepReport) -> None:
        start = time.monotonic()
        try:
            with deadline(self._left(change)):
                change.on()
                self._trial.warm(change.sizes, self._config.warmup.iterations)
        except TimeIsUp as late:
            raise _TooLate(f"took longer than the {change.timeout:g} s of pt2.timeout") from late
        took = time.monotonic() - start
        if change.timeout is not None and took > change.timeout and not can_interrupt():
            row.reason = f"took {took:.0f} s: pt2.timeout cannot be kept outside the main thread"

    def _left(self, change: Change) -> float | None:
        """Seconds of the step's limit that earlier attempts have not used. Raises TimeIsUp when none is left."""
        if change.timeout is None:
            return None
        left = change.timeout - (time.monotonic() - self._started)
        if left <= 0 and can_interrupt():
            raise TimeIsUp
        return left

    def _verify(self, row: StepReport) -> dict[str, Any]:
        """The report's verdict. Raises StepFailed or OptimiseRefused beyond the limits, as the YAML says."""
        verdicts = self._trial.verdicts()
        verdict = worst(list(verdicts.values()))
        row.measured |= verdict.measured()
        row.measured["bySize"] = {str(size): each.measured() for size, each in verdicts.items()}
        limits = self._config.verify
        problem = verdict.beyond(limits)
        if problem is not None:
            if limits.action == "fail":
                raise OptimiseRefused(f"{row.name}: {problem} (verify.action: fail)")
            if limits.action == "fallback":
                raise StepFailed(problem)
            row.reason = _joined(row.reason, f"{problem} (verify.action: warn)")
        return {**verdict.measured(), "passed": problem is None}

    def _fell_back(self, row: StepReport, wish: Wish[Any], failure: StepFailed) -> None:
        row.reason = str(failure)
        if wish.required and not isinstance(failure, _TooSlow):
            raise OptimiseRefused(f"{row.name}: {failure} ({wish.required})") from failure
        if isinstance(failure, NotApplicable):
            row.applied, row.status = None, Status.NOT_APPLICABLE

    def _measure_whole(self) -> None:
        if not self._changes or self._pace is None:
            return
        pace = self._pace if len(self._changes) == 1 else self._trial.pace(self._all_off, self._all_on)
        self._report.baseline_ms = _plain(pace.before, digits=4)
        self._report.optimised_ms = _plain(pace.after, digits=4)

    def _all_on(self) -> None:
        for change in self._changes:
            change.on()

    def _all_off(self) -> None:
        for change in reversed(self._changes):
            change.off()

    def _undo(self, change: Change) -> None:
        change.off()
        change.drop()

    def _undo_all(self) -> None:
        for change in reversed(self._changes):
            self._undo(change)
        self._edge.detach()


class _TooLate(StepFailed):
    """The time for it is used up: there is none for another attempt."""


class _TooSlow(StepFailed):
    """Correct, but not worth it: eager stays, even where a failure would stop the load."""


def _demand(least: float | None, pace: Pace) -> None:
    """Raises _TooSlow when the mean gain (geometric, over the batch sizes) is below `least`."""
    if least is None:
        return
    ratios = pace.speedup
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    if mean < least:
        told = " and ".join(f"{ratio:.2f} × at batch {size}" for size, ratio in ratios.items())
        raise _TooSlow(f"{told}: slower than pt2.minSpeedup {least:g} asks")


def _joined(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _plain(values: Mapping[int, float], digits: int) -> dict[str, float]:
    """JSON has text keys only."""
    return {str(size): round(value, digits) for size, value in values.items()}


#: How inductor ("target: aten.x") and dynamo ("unsupported operator: x") name what they were at.
_OPERATOR = re.compile(r"(?:^target|unsupported operator): (\S+)")


def blame(error: Exception) -> str:
    """The exception in one line, with the operator and the user's line that the compiler was at, if it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    named = next(filter(None, map(_OPERATOR.search, lines)), None)
    operator = f", in {named[1]}" if named else ""
    stack: Sequence[traceback.FrameSummary] = getattr(error, "real_stack", None) or ()
    where = f" (at {stack[-1].filename}:{stack[-1].lineno})" if stack else ""
    return f"{type(error).__name__}: {first}{operator}{where}"
