"""What one bad request and one dead worker cost the others."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import environments, offline
from benchmarks.side_by_side.cells import DELAY_MS, Cell
from benchmarks.side_by_side.records import FAULTS, Absent, BadRow, Killed, Log
from benchmarks.side_by_side.rounds import Told
from benchmarks.side_by_side.running import JSON, DoesNotServe, Running
from benchmarks.side_by_side.servers import Server
from runner.asking import NoAnswer, Refused, post

_CELL = Cell("mlp")
#: Long enough for eight requests to meet in one batch.
_MEETING_MS = 300
_TOGETHER, _BAD, _TRIALS = 8, 3, 3
#: 100 requests a second from clients of which each waits for its answer.
_CLIENTS, _PAUSE = 32, 0.32
_SECONDS, _KILL_AFTER, _LATELY = 20.0, 3.0, 2.0
_ANSWER_LIMIT = 10.0
_SUCCESS = "200"


@dataclass(frozen=True, slots=True)
class Answered:
    """When a request was settled, and how: a status, or `no answer`."""

    at: float
    status: str


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
    for server in due:
        told(f"faults: {server.name}")
        try:
            log.add(_bad_row(server, outputs, cache))
            log.add(_killed(server, outputs, cache))
        except DoesNotServe as error:
            log.add(Absent(FAULTS, server.name, str(error)))


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
    return _SUCCESS


def _killed(server: Server, outputs: list[Any], cache: Path) -> Killed:
    """Clients that ask at their own pace, whatever becomes of the others."""
    with (
        Running(server, _CELL, outputs, DELAY_MS, cache) as running,
        ThreadPoolExecutor(_CLIENTS) as pool,
    ):
        began = time.monotonic()
        starts = [began + place * _PAUSE / _CLIENTS for place in range(_CLIENTS)]
        clients = [pool.submit(_client, running, start, began + _SECONDS) for start in starts]
        time.sleep(_KILL_AFTER)
        os.kill(running.workers()[-1], signal.SIGKILL)
        answers = [answer for client in clients for answer in client.result()]
    return account(server.name, answers, began, began + _SECONDS)


def _client(running: Running, start: float, end: float) -> list[Answered]:
    body = running.server.form.body(_CELL.what.samples()[0])
    answers, due = [], start
    while due < end:
        time.sleep(max(due - time.monotonic(), 0.0))
        status = _status(running, body)
        answers.append(Answered(time.monotonic(), status))
        due = max(due + _PAUSE, time.monotonic())
    return answers


def account(server: str, answers: Sequence[Answered], began: float, end: float) -> Killed:
    """What became of all requests; the time without a successful answer is looked for from begin to end."""
    failures = Counter(each.status for each in answers if each.status != _SUCCESS)
    good = sorted(each.at for each in answers if each.status == _SUCCESS)
    marks = [began, *(at for at in good if at < end), end]
    gap = max(later - earlier for earlier, later in pairwise(marks))
    recovered = bool(good) and good[-1] > end - _LATELY
    return Killed(server, len(answers), dict(failures), gap, recovered)
