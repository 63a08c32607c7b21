"""Real servers of candidates under the generator's load. The last few stay, so that they can be measured in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from archiver.errors import ArchiveError
from runner.bench.figures import Samples, percentile, samples
from runner.bench.inputs import Input
from runner.bench.probe import Probe
from runner.bench.report import Processes, ServerSide
from runner.bench.sender import Generator, Way, requests_of, round_of
from runner.bench.server import Server
from runner.tune.climb import is_certainly_broken
from runner.tune.facts import Load, Reading
from runner.tune.halving import CandidateFailed
from runner.tune.space import Candidate
from runner.tune.state import State

#: Servers that may stay.
KEPT = 3
#: Seconds: before each reading, between its slices, and of its first slice, after which it may be given up.
_WARM_UP, _RAMP, _FIRST = 0.25, 0.05, 0.35
#: A p99 of fewer requests is a guess: a reading lasts until there are so many, or so much longer than asked.
_REQUESTS, _LONGER = 100, 3
_CONNECTIONS, _TIMEOUT = 256, 30.0
#: Milliseconds, where nothing was answered.
_NEVER = _TIMEOUT * 1000
#: Seconds of a server's start beyond loading a model, until one was measured.
_START = 2.0


@dataclass(frozen=True, slots=True)
class _Slice:
    """A part of a reading."""

    samples: Samples
    server: ServerSide | None
    processes: Processes | None


class _Trial:
    """The server of one candidate. Raises CandidateFailed."""

    def __init__(self, archive: Path, arguments: Sequence[str], inputs: Sequence[Input], compiled: bool) -> None:
        try:
            self.server = Server(archive, arguments)
        except ArchiveError as error:
            raise CandidateFailed(str(error)) from error
        self.seconds = self.server.seconds
        self.probe = Probe(self.server.target, {}, self.server)
        try:
            self._check(compiled)
            self.address = self.probe.address()
        except ArchiveError as error:
            self.server.close()
            raise CandidateFailed(str(error)) from error
        except BaseException:
            self.server.close()
            raise
        self.requests = requests_of(self.server.target, inputs, {})

    def _check(self, compiled: bool) -> None:
        """A server measures anew whether compiled code is worth it, and may keep eager."""
        steps = self.probe.description().get("applied", {}).get("steps", [])
        row = next((step for step in steps if step["name"] == "compile"), None)
        if compiled and row is not None and row["status"] != "applied":
            raise CandidateFailed(f"its server did not run compiled code: {row['reason']}")


class Trials:
    """The measurer of `halving.Search`. `arguments`: of `archive serve` for a candidate; `loads`: seconds that its
    model took to load, `sla` in milliseconds."""

    def __init__(
        self,
        archive: Path,
        arguments: Callable[[Candidate], Sequence[str]],
        inputs: Sequence[Input],
        state: State,
        *,
        loads: Callable[[Candidate], float],
        sla: float | None,
        seed: int,
        kept: int = KEPT,
    ) -> None:
        self._archive = archive
        self._arguments = arguments
        self._inputs = inputs
        self._state = state
        self._loads = loads
        self._sla = sla
        self._seed = seed
        self._kept = kept
        self._open: dict[Candidate, _Trial] = {}
        self._started: dict[Candidate, float] = {}
        self._stack = ExitStack()
        self._sender: Generator | None = None

    def read(self, candidate: Candidate, load: Load, seconds: float) -> Reading:
        """From the state file what an earlier run has measured, else by measuring. Raises CandidateFailed."""
        known = self._state.reading(candidate, load, seconds, self._sla)
        if known is not None:
            return known
        reading = self._measured(self._trial(candidate), load, seconds)
        self._state.add_reading(candidate, seconds, reading)
        return reading

    def price(self, candidate: Candidate) -> float:
        """Seconds until its server answers."""
        if candidate in self._open or self._state.has_readings(candidate):
            return 0.0
        return self._started.get(candidate) or self._loads(candidate) + _START

    @property
    def _generator(self) -> Generator:
        if self._sender is None:
            self._sender = self._stack.enter_context(Generator())
        return self._sender

    def _trial(self, candidate: Candidate) -> _Trial:
        trial = self._open.pop(candidate, None)
        if trial is None:
            while len(self._open) >= self._kept:
                self._open.pop(next(iter(self._open))).server.close()
            trial = _Trial(self._archive, self._arguments(candidate), self._inputs, candidate.variant.compiled)
            self._started[candidate] = trial.seconds
        self._open[candidate] = trial
        return trial

    def _measured(self, trial: _Trial, load: Load, seconds: float) -> Reading:
        found: list[_Slice] = []
        cut = None
        while (length := self._next(load, found, seconds)) > 0 and cut is None:
            found.append(self._slice(trial, load, length, _RAMP if found else _WARM_UP))
            cut = self._cut(found, seconds)
        return _reading(load, found, cut)

    def _next(self, load: Load, found: Sequence[_Slice], seconds: float) -> float:
        """Length of the next slice; 0 when it is enough. An open loop is not interrupted: what it has piled up would
        be gone."""
        passed = sum(each.samples.seconds for each in found)
        if not found:
            return seconds if load.rate is not None else min(_FIRST, seconds)
        if passed < seconds * 0.95:
            return seconds - passed
        few = sum(len(each.samples.intended) for each in found) < _REQUESTS
        return seconds if few and passed < seconds * _LONGER else 0.0

    def _slice(self, trial: _Trial, load: Load, length: float, warmup: float) -> _Slice:
        way = Way(load.concurrency, load.rate, _CONNECTIONS, warmup, length, None, _TIMEOUT)
        self._seed += 1  # each slice of an open loop has a schedule of its own
        ended = self._generator.round(round_of(way, trial.address, trial.requests, self._seed), trial.probe.begin)
        account = trial.probe.end()
        if ended.stopped is not None:
            self._open = {each: other for each, other in self._open.items() if other is not trial}
            told = trial.probe.server_end() or ended.stopped
            trial.server.close()
            raise CandidateFailed(told)
        return _Slice(samples(ended), account.server, account.processes)

    def _cut(self, found: Sequence[_Slice], seconds: float) -> float | None:
        """The limit, when it is certainly broken."""
        if self._sla is None:
            return None
        latencies = _latencies(found)
        over = int((latencies > self._sla).sum())
        part = min(1.0, sum(each.samples.seconds for each in found) / seconds)
        return self._sla if part < 1 and is_certainly_broken(over, len(latencies), part) else None

    def __enter__(self) -> Trials:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The generator first: nobody waits for the answers that the servers are still at."""
        self._stack.close()
        for trial in self._open.values():
            trial.server.close()
        self._open = {}


def _latencies(found: Sequence[_Slice]) -> np.ndarray:
    return np.sort(np.concatenate([each.samples.milliseconds() for each in found]))


def _reading(load: Load, found: Sequence[_Slice], cut: float | None) -> Reading:
    seconds = sum(each.samples.seconds for each in found)
    latencies = _latencies(found)
    taken = [(each.samples.seconds, each.processes) for each in found if each.processes is not None]
    servers = [each.server for each in found if each.server is not None]
    measured = sum(length for length, _ in taken)
    batches = sum(each.batches for each in servers)
    return Reading(
        load=load,
        seconds=seconds,
        requests=sum(len(each.samples.intended) for each in found),
        throughput=sum(len(each.samples.came) for each in found) / seconds if seconds else 0.0,
        p50=percentile(latencies, 50) if len(latencies) else _NEVER,
        p99=percentile(latencies, 99) if len(latencies) else _NEVER,
        failed=sum(sum(each.samples.failures().values()) for each in found),
        cores=sum(length * each.cores for length, each in taken) / measured if measured else None,
        memory=max((each.pss or each.rss for _, each in taken), default=None),
        mean_batch=sum(each.mean_batch * each.batches for each in servers) / batches if batches else None,
        cut=cut,
    )
