"""What one bad request and one dead worker cost the others."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.side_by_side import environments, load, offline
from benchmarks.side_by_side.cells import DELAY_MS, Cell
from benchmarks.side_by_side.records import Absent, BadRow, Killed, Log
from benchmarks.side_by_side.rounds import Told
from benchmarks.side_by_side.running import JSON, DoesNotServe, Running
from benchmarks.side_by_side.servers import Server
from runner.asking import NoAnswer, Refused, post
from runner.bench.figures import Samples
from runner.bench.sender import Generator

_CELL = Cell("mlp")
#: Long enough for eight requests to meet in one batch.
_MEETING_MS = 300
_TOGETHER, _BAD, _TRIALS = 8, 3, 3
_RATE, _SECONDS, _KILL_AFTER = 100.0, 20.0, 3.0
_ANSWER_LIMIT = 30.0


def run(log: Log, servers: Sequence[Server], cache: Path, told: Told) -> None:
    """Add what is missing to the log."""
    usable = [server for server in servers if environments.lacking(server, cache) is None]
    due = [
        server
        for server in usable
        if not (log.has(BadRow, server=server.name) and log.has(Killed, server=server.name))
    ]
    if not due:
        return
    outputs = offline.measure(_CELL.workload, 0.0, cache).outputs
    with Generator() as generator:
        for server in due:
            told(f"faults: {server.name}")
            try:
                log.add(_bad_row(server, outputs, cache))
                log.add(_killed(generator, server, outputs, cache))
            except DoesNotServe as error:
                log.add(Absent("faults", server.name, str(error)))


def _bad_row(server: Server, outputs: list[Any], cache: Path) -> BadRow:
    """Eight at once, one of them of 255 floats instead of 256."""
    bad: Counter[str] = Counter()
    good: Counter[str] = Counter()
    sample, *_ = _CELL.what.samples()
    bodies = [server.form.body(sample[:-1] if place == _BAD else sample) for place in range(_TOGETHER)]
    with (
        Running(server, _CELL, outputs, _MEETING_MS, cache) as running,
        ThreadPoolExecutor(_TOGETHER) as pool,
    ):
        for _ in range(_TRIALS):
            statuses = list(pool.map(lambda body: _status(running, body), bodies))
            bad[statuses.pop(_BAD)] += 1
            good.update(statuses)
        return BadRow(server.name, dict(bad), dict(good), _status(running, b'{"x": [1, 2, '))


def _status(running: Running, body: bytes) -> str:
    try:
        post(running.target, body, JSON, _ANSWER_LIMIT)
    except Refused as error:
        return str(error.status)
    except NoAnswer:
        return "no answer"
    return "200"


def _killed(generator: Generator, server: Server, outputs: list[Any], cache: Path) -> Killed:
    with Running(server, _CELL, outputs, DELAY_MS, cache) as running:
        timer = threading.Timer(_KILL_AFTER, lambda: os.kill(running.workers()[-1], signal.SIGKILL))
        found = load.steady(generator, running, _CELL, _RATE, _SECONDS, timer.start)
        timer.join()
        return _account(server.name, found)


def _account(server: str, found: Samples) -> Killed:
    """Of the whole measured part, in which the worker was killed."""
    came = np.sort(found.came)
    gap = float(np.diff(np.concatenate(([found.begin], came, [found.end]))).max())
    recovered = bool(len(came)) and float(found.end - came[-1]) < 1.0
    return Killed(server, len(found.intended), found.failures(), gap, recovered)
